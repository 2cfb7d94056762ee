BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE invites (
	token_id BLOB NOT NULL, 
	name TEXT NOT NULL, 
	proof_key BLOB NOT NULL, 
	expires INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	wrong_proofs INTEGER NOT NULL, 
	agent_id BLOB, 
	PRIMARY KEY (token_id), 
	FOREIGN KEY(agent_id) REFERENCES members (agent_id)
);
INSERT INTO "invites" VALUES(X'000102030405060708090A0B0C0D0E0F','agent-5',X'0000000000000000000000000000000000000000000000000000000000000000',1767229200,'open',2,NULL);
CREATE TABLE members (
	agent_id BLOB NOT NULL, 
	name TEXT NOT NULL, 
	identity_public BLOB NOT NULL, 
	node_public BLOB NOT NULL, 
	joined FLOAT NOT NULL, 
	revoked FLOAT, 
	ledger_head BLOB NOT NULL, 
	PRIMARY KEY (agent_id), 
	UNIQUE (node_public)
);
INSERT INTO "members" VALUES(X'976585E64E9E633C9F91B1B82B104EFC','agent-1',X'22B6DDDCAB737F0EC37D8E79B0D2112A690DB2EF8D274ACA4C9FEB08FD360387',X'2D2D2D2D2D424547494E205055424C4943204B45592D2D2D2D2D0A300A2D2D2D2D2D454E44205055424C4943204B45592D2D2D2D2D0A',1767225600.0,NULL,X'');
INSERT INTO "members" VALUES(X'CF6844A6190ADFF4402306733802354E','agent-2',X'69D993FA1D78F40C60DB2E362BA4C2C43AE7BA5344A3198EC20FE1A0BA0EA5AB',X'2D2D2D2D2D424547494E205055424C4943204B45592D2D2D2D2D0A310A2D2D2D2D2D454E44205055424C4943204B45592D2D2D2D2D0A',1767225601.0,NULL,X'');
INSERT INTO "members" VALUES(X'20A55EBB6C3D06ADD0F68CB5A7708F54','agent-3',X'A0D2AE7FCA63BA079E3CA5D128006C5F359489D0AADA1B2FD7DE674DEC57E4E1',X'2D2D2D2D2D424547494E205055424C4943204B45592D2D2D2D2D0A320A2D2D2D2D2D454E44205055424C4943204B45592D2D2D2D2D0A',1767225602.0,NULL,X'');
INSERT INTO "members" VALUES(X'5CF0339FA02031412BC00388CA229225','agent-4',X'CE92DCF66EC299FC96F9628E0651E8571611149182BFD6EF1B6D1F47BF8CA9C5',X'2D2D2D2D2D424547494E205055424C4943204B45592D2D2D2D2D0A330A2D2D2D2D2D454E44205055424C4943204B45592D2D2D2D2D0A',1767225603.0,1767225700.0,X'');
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('note','kept');
CREATE TABLE roster (
	epoch INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	signature BLOB NOT NULL, 
	PRIMARY KEY (epoch)
);
INSERT INTO "roster" VALUES(2,X'19656467657665696C2F7365636167672D76312F726F737465720500000020868905B0D3A4EDEE52CBCA28615B05D0B759F9BE9D9438B5AA97250F7DBBBFD100000008000000000000000200000008000000006955B900000000080000000069CC6000000000A0000000030000003020A55EBB6C3D06ADD0F68CB5A7708F54A0D2AE7FCA63BA079E3CA5D128006C5F359489D0AADA1B2FD7DE674DEC57E4E100000030976585E64E9E633C9F91B1B82B104EFC22B6DDDCAB737F0EC37D8E79B0D2112A690DB2EF8D274ACA4C9FEB08FD36038700000030CF6844A6190ADFF4402306733802354E69D993FA1D78F40C60DB2E362BA4C2C43AE7BA5344A3198EC20FE1A0BA0EA5AB',X'D6B9BD95EA1D2E467D05241E9CAC02F212BC67A7B4FC3DB98E5E80FC46AF0D32937EFBECAF684AA7D9C2F4ABAE504A067D8191F426E67DBD72315F5D9183A00D');
CREATE TABLE rounds (
	run_id TEXT NOT NULL, 
	round INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	outcome TEXT NOT NULL, 
	record TEXT NOT NULL, 
	PRIMARY KEY (run_id, round, attempt), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "rounds" VALUES('run-20260101-000000-0a1b2c3d',1,1,'committed','{"run": "run-20260101-000000-0a1b2c3d", "round": 1, "attempt": 1, "outcome": "committed", "reason": "", "selected": ["agent-1", "agent-2", "agent-3"], "survived": ["agent-1", "agent-2", "agent-3"], "dropped": [], "dropped_reasons": {}, "stage_seconds": {"round": 1.5}, "metrics": {"accuracy": 0.5}, "seconds": 2.5, "bytes_up": 3000, "bytes_down": 6000, "model_sha256": "1111111111111111111111111111111111111111111111111111111111111111", "result_hash": "2222222222222222222222222222222222222222222222222222222222222222", "finished": 1767225661.0, "extra": {}}');
INSERT INTO "rounds" VALUES('run-20260101-000000-0a1b2c3d',2,1,'aborted','{"run": "run-20260101-000000-0a1b2c3d", "round": 2, "attempt": 1, "outcome": "aborted", "reason": "COHORT_TOO_SMALL", "selected": ["agent-1", "agent-2", "agent-3"], "survived": [], "dropped": ["agent-1", "agent-2"], "dropped_reasons": {"agent-1": "refused:POLICY_SIGMA", "agent-2": "lost"}, "stage_seconds": {"round": 1.5}, "metrics": {}, "seconds": 2.5, "bytes_up": 3000, "bytes_down": 6000, "model_sha256": "", "result_hash": "", "finished": 1767225721.0, "extra": {"dropped_stages": {"agent-1": "round", "agent-2": "masked"}}}');
INSERT INTO "rounds" VALUES('run-20260101-000000-0a1b2c3d',2,2,'committed','{"run": "run-20260101-000000-0a1b2c3d", "round": 2, "attempt": 2, "outcome": "committed", "reason": "", "selected": ["agent-1", "agent-2", "agent-3"], "survived": ["agent-2", "agent-3"], "dropped": ["agent-1"], "dropped_reasons": {"agent-1": "deadline"}, "stage_seconds": {"round": 1.5}, "metrics": {"accuracy": 0.75}, "seconds": 2.5, "bytes_up": 3000, "bytes_down": 6000, "model_sha256": "3333333333333333333333333333333333333333333333333333333333333333", "result_hash": "4444444444444444444444444444444444444444444444444444444444444444", "finished": 1767225722.0, "extra": {"dropped_stages": {"agent-1": "masked"}}}');
CREATE TABLE runs (
	number INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	plan_hash TEXT NOT NULL, 
	created FLOAT NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (run_id)
);
INSERT INTO "runs" VALUES(1,'run-20260101-000000-0a1b2c3d','{"task":{"id":"feature-head","version":"1.0.0","options":{"variant":"thin"}},"training":{"steps":1,"sample_rate":1.0,"clip_norm":0.3,"learning_rate":1.0,"optimizer":"sgd","momentum":0.0,"average":0.0,"proximal":0.0,"epsilon":8.0,"delta":0.00001},"rounds":{"count":3,"goal":3,"minimum":3,"deadline_s":600.0,"spare":1,"attempts":3},"secagg":{"n_min":3,"n_max":3,"gamma_ppm":100000,"delta_ppm":100000,"c_min":0,"sigma":80,"eta":20,"prg":"aes-256-ctr","shard_max":null,"shard_min":null,"n_ref_max":100000},"server":{"strategy":"fedavg","learning_rate":1.0,"momentum":0.9,"second_moment":0.99,"adaptivity":0.001,"schedule":"constant","warmup":0,"final_rate":0.1,"average":"none","average_decay":0.9,"average_from":null,"robust":"none","trim":0.2},"evaluation":{"data":null,"every":1,"metric":"accuracy","patience":0,"least_gain":0.0,"reject_below":0.0}}','5555555555555555555555555555555555555555555555555555555555555555',1767225600.0,'stopped','');
CREATE UNIQUE INDEX members_name ON members (name) WHERE revoked IS NULL;
CREATE UNIQUE INDEX rounds_committed ON rounds (run_id, round) WHERE outcome = 'committed';
COMMIT;
