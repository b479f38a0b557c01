//! `keys` and `audit`.

use super::OutputArgs;
use clap::{Args, Subcommand};
use meta_domain::id::{KeyId, TenantId};
use meta_domain::role::{Role, Scope};

/// `keys`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the API keys of a tenant, newest first, without their secrets.
    Ls {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make an API key; it is printed once.
    Create {
        /// What it is for.
        name: String,
        /// What it may do: `viewer`, `member`, `admin`, `owner` or `auditor`.
        #[arg(long, default_value = "member")]
        role: Role,
        /// What it is limited to, such as `read`; can be given more than once. Without it: all that
        /// the role allows.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// When it ends by itself, such as 2030-01-31T12:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// End an API key; it opens nothing within seconds.
    Revoke {
        /// Its id.
        id: KeyId,
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Whose keys.
#[derive(Debug, Args)]
pub struct OfTenant {
    /// The tenant; that of METABUILDER_TOKEN without it.
    #[arg(long)]
    pub tenant: Option<TenantId>,
}

/// `audit`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List who did what in the tenant, newest first.
    Ls {
        /// Only this action, or those below it where it ends with a dot, such as `key.`.
        #[arg(long, default_value = "")]
        action: String,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Read the whole record of the tenant and say whether anything in it was changed; exit code 1
    /// when it was.
    Verify {
        /// An entry that was noted earlier, as this command prints it: the record has to hold it
        /// still.
        #[arg(long, value_name = "NUMBER:HASH", value_parser = noted)]
        known: Option<Noted>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// An entry of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its number.
    pub seq: u64,
    /// Its hash in hex.
    pub hash: String,
}

fn noted(text: &str) -> Result<Noted, String> {
    let expected = "expected a number, a colon and 64 hex digits";
    let (seq, hash) = text.split_once(':').ok_or(expected)?;
    let fits = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    match seq.parse() {
        Ok(seq) if fits && seq > 0 => Ok(Noted { seq, hash: hash.to_owned() }),
        _ => Err(expected.to_owned()),
    }
}
