//! Tokens that name their issuer: whatever has one of these forms is a secret, wherever it stands.

/// A pattern each, without groups.
pub(super) const TOKENS: &[&str] = &[
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{16,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bgl(?:pat|dt|rt|soat|ptt|ft|cbt)-[A-Za-z0-9_-]{16,}",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    r"\b[srp]k_(?:live|test)_[A-Za-z0-9]{10,}",
    r"\b[sr]k-[A-Za-z0-9_-]{20,}",
    r"\bwhsec_[A-Za-z0-9+/]{20,}={0,2}",
    r"\bAIza[0-9A-Za-z_-]{30,}",
    r"\bya29\.[0-9A-Za-z_-]{20,}",
    r"\bnpm_[A-Za-z0-9]{30,}",
    r"\bpypi-[A-Za-z0-9_-]{30,}",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"\bSK[0-9a-f]{32}\b",
    r"\bhf_[A-Za-z0-9]{30,}",
    r"\bdo[oprt]_v1_[a-f0-9]{40,}",
    r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    r"\bdapi[a-f0-9]{32}\b",
    r"\blin_api_[A-Za-z0-9]{30,}",
    r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}",
    r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{5,}",
    // our own API keys
    r"\bmb_[0-9a-f]{32}_[0-9a-f]{32}_[0-9a-f]{64}\b",
];
