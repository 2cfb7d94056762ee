"""Every word of the device's own page, in English and Simplified Chinese."""

from edgeveil.shared.pages.document import Language

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Device {name}", "设备 {name}"),
    "skip": ("Skip to the content", "跳到正文"),
    "contents": ("Links", "链接"),
    "intro": (
        "This page stays on this device. It shows what was trained, what left and what is left.",
        "本页只在此设备上显示：训练了什么、发送了什么、还剩多少预算。",
    ),
    "budget": ("Privacy budget", "隐私预算"),
    "spent": ("ε spent", "已花费 ε"),
    "limit": ("ε limit", "ε 上限"),
    "delta": ("δ", "δ"),
    "share": ("Budget used", "预算使用"),
    "meter": ("{share} of the budget is used", "已使用预算的 {share}"),
    "unit": ("What is protected", "保护单位"),
    "unit_value": ("one {unit}, added or removed", "一条记录（{unit}），增加或删除"),
    "rounds": ("Rounds charged", "已计费轮数"),
    "left": ("Rounds left at the newest plan", "按最新计划剩余轮数"),
    "chart": ("ε after each charge", "每次计费后的 ε"),
    "charge": ("Charge", "计费"),
    "spent_note": (
        "From this device's own verified ledger. Spent budget never comes back.",
        "来自此设备自己的、经过验证的账本。花费的预算不会恢复。",
    ),
    "model": ("Model", "模型"),
    "no_round": ("No round yet.", "尚无训练轮次。"),
    "run": ("Run", "任务"),
    "round": ("Round", "轮"),
    "attempt": ("Attempt", "尝试"),
    "task": ("Task", "任务类型"),
    "version": ("Global model trained on, SHA-256", "所训练的全局模型 SHA-256"),
    "trained": ("What was trained", "训练记录"),
    "when": ("Time (UTC)", "时间（UTC）"),
    "steps": ("Steps", "步数"),
    "noise": ("Noise σ", "噪声 σ"),
    "rate": ("Sample rate q", "采样率 q"),
    "sent": ("What left this device", "离开此设备的数据"),
    "sent_note": (
        "Sizes of signed messages. The update leaves masked; no record, loss or count ever leaves.",
        "仅为已签名消息的大小。更新以掩码形式离开；记录、损失或计数从不离开。",
    ),
    "message": ("Message", "消息"),
    "size": ("Size", "大小"),
    "stage_round": ("keys and ledger head", "密钥与账本头"),
    "stage_share": ("sealed key shares", "密封的密钥份额"),
    "stage_masked": ("masked update", "掩码更新"),
    "stage_agree": ("signature on the survivors", "对幸存者的签名"),
    "stage_unmask": ("shares to unmask the sum", "解除总和掩码的份额"),
    "total": ("In all, as far as the journal goes back", "合计（日志所及）"),
    "refusals": ("Refusals", "拒绝"),
    "refusals_note": (
        "What this device would not do. The coordinator learned the code and nothing else.",
        "此设备拒绝做的事。协调器只得到代码，别无其他。",
    ),
    "none_refused": ("Nothing was refused.", "没有拒绝过任何请求。"),
    "code": ("Code", "代码"),
    "count": ("Count", "次数"),
    "latest": ("Latest", "最近一次"),
    "identity": ("Identity", "身份"),
    "name": ("Name", "名称"),
    "coordinator": ("Coordinator", "协调器"),
    "agent_id": ("Agent id", "设备 ID"),
    "dataset": ("Data set", "数据集"),
    "ledger": ("Ledger", "账本"),
    "ledger_value": ("{n} records, head {head}", "{n} 条记录，头 {head}"),
    "none": ("none", "无"),
    "connection_lost": ("The agent does not answer; this page shows its last state.",
                        "设备程序无响应；本页显示最后的状态。"),
    "follows": ("Read-only. Follows the agent by itself; without JavaScript it reloads every {s} s.",
                "只读。自动跟随；无 JavaScript 时每 {s} 秒刷新。"),
    "metrics": ("Metrics for Prometheus", "Prometheus 指标"),
}  # fmt: skip


class Words:
    def __init__(self, language: Language) -> None:
        self._place = 0 if language == "en" else 1

    def __call__(self, key: str, **values: object) -> str:
        text = _WORDS[key][self._place]
        return text.format(**values) if values else text
