//! Settings, overrides and layers.

use super::{Field, Number, Required, enum_map, parse, parse_opt, word};
use crate::common as pb;
use crate::flags as flags_pb;
use meta_domain::fault::InvalidField;
use meta_domain::settings::{
    Layer, Overrides, Owner, Resolved, Rollout, Rollouts, Setting, Settings, SnapshotChange, Value,
};

enum_map!(Layer, pb::Layer, [Platform, Rollout, Tenant, Run, KillSwitch, FailClosed]);

impl From<Settings> for pb::Settings {
    fn from(s: Settings) -> Self {
        Self {
            autofix_enabled: s.autofix_enabled,
            max_total_attempts: s.max_total_attempts,
            max_per_step_attempts: s.max_per_step_attempts,
            backoff_cap_seconds: s.backoff_cap_seconds,
        }
    }
}

impl From<pb::Settings> for Settings {
    fn from(s: pb::Settings) -> Self {
        Self {
            autofix_enabled: s.autofix_enabled,
            max_total_attempts: s.max_total_attempts,
            max_per_step_attempts: s.max_per_step_attempts,
            backoff_cap_seconds: s.backoff_cap_seconds,
        }
    }
}

impl From<Overrides> for pb::Overrides {
    fn from(o: Overrides) -> Self {
        Self {
            autofix_enabled: o.autofix_enabled,
            max_total_attempts: o.max_total_attempts,
            max_per_step_attempts: o.max_per_step_attempts,
            backoff_cap_seconds: o.backoff_cap_seconds,
        }
    }
}

impl From<pb::Overrides> for Overrides {
    fn from(o: pb::Overrides) -> Self {
        Self {
            autofix_enabled: o.autofix_enabled,
            max_total_attempts: o.max_total_attempts,
            max_per_step_attempts: o.max_per_step_attempts,
            backoff_cap_seconds: o.backoff_cap_seconds,
        }
    }
}

impl From<Resolved> for pb::ResolvedSettings {
    fn from(r: Resolved) -> Self {
        Self {
            settings: Some(r.settings.into()),
            autofix_enabled_layer: r.autofix_enabled_layer.number(),
            max_total_attempts_layer: r.max_total_attempts_layer.number(),
            max_per_step_attempts_layer: r.max_per_step_attempts_layer.number(),
            backoff_cap_seconds_layer: r.backoff_cap_seconds_layer.number(),
        }
    }
}

impl TryFrom<pb::ResolvedSettings> for Resolved {
    type Error = InvalidField;
    fn try_from(r: pb::ResolvedSettings) -> Result<Self, InvalidField> {
        Ok(Self {
            settings: r.settings.required("settings")?.into(),
            autofix_enabled_layer: word("autofix_enabled_layer", r.autofix_enabled_layer)?,
            max_total_attempts_layer: word("max_total_attempts_layer", r.max_total_attempts_layer)?,
            max_per_step_attempts_layer: word(
                "max_per_step_attempts_layer",
                r.max_per_step_attempts_layer,
            )?,
            backoff_cap_seconds_layer: word(
                "backoff_cap_seconds_layer",
                r.backoff_cap_seconds_layer,
            )?,
        })
    }
}

impl From<Value> for pb::SettingValue {
    fn from(value: Value) -> Self {
        use pb::setting_value::Kind;
        let kind = match value {
            Value::Bool(v) => Kind::Flag(v),
            Value::Int(v) => Kind::Number(v),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::SettingValue> for Value {
    type Error = InvalidField;
    fn try_from(value: pb::SettingValue) -> Result<Self, InvalidField> {
        use pb::setting_value::Kind;
        Ok(match value.kind.required("")? {
            Kind::Flag(v) => Self::Bool(v),
            Kind::Number(v) => Self::Int(v),
        })
    }
}

/// A rollout for the wire.
pub fn rollout(setting: Setting, rollout: &Rollout) -> pb::Rollout {
    pb::Rollout {
        setting: setting.as_str().to_owned(),
        value: Some(rollout.value.into()),
        percent: rollout.percent.into(),
        bucket_key: rollout.bucket_key.clone(),
    }
}

/// Rollouts for the wire.
pub fn rollouts(all: &Rollouts) -> Vec<pb::Rollout> {
    all.iter().map(|(setting, one)| rollout(*setting, one)).collect()
}

/// Rollouts from the wire, checked; an empty bucket key is the setting's name.
///
/// # Errors
/// The first field that is wrong: unknown or doubled settings, values of the wrong type or range.
pub fn rollouts_from(wire: Vec<pb::Rollout>) -> Result<Rollouts, InvalidField> {
    let mut all = Rollouts::new();
    for (i, one) in wire.into_iter().enumerate() {
        let at = format!("rollouts[{i}]");
        let (setting, rollout) = rollout_from(one).field(&at)?;
        if all.insert(setting, rollout).is_some() {
            let problem = format!("{setting} is there twice (expected one rollout a setting)");
            return Err(InvalidField::new(format!("{at}.setting"), problem));
        }
    }
    Ok(all)
}

fn rollout_from(wire: pb::Rollout) -> Result<(Setting, Rollout), InvalidField> {
    let setting: Setting = parse("setting", &wire.setting)?;
    let percent = u8::try_from(wire.percent).map_err(|_| {
        let problem = format!("{} is out of range (expected 0 to 100)", wire.percent);
        InvalidField::new("percent", problem)
    })?;
    let bucket_key =
        if wire.bucket_key.is_empty() { setting.as_str().to_owned() } else { wire.bucket_key };
    let value = wire.value.required("value")?.try_into().field("value")?;
    let rollout = Rollout { value, percent, bucket_key };
    rollout.check(setting).map_err(|faults| {
        faults.into_iter().next().unwrap_or_else(|| InvalidField::new("", "is not valid"))
    })?;
    Ok((setting, rollout))
}

impl From<SnapshotChange> for flags_pb::WatchSnapshotResponse {
    fn from(change: SnapshotChange) -> Self {
        let owned = |(owner, over): (Owner, Overrides)| flags_pb::OwnedOverrides {
            tenant_id: owner.tenant.to_string(),
            run_id: owner.run.map(|r| r.to_string()).unwrap_or_default(),
            overrides: Some(over.into()),
        };
        Self {
            version: change.version,
            reset: change.reset,
            more: false,
            platform: Some(change.platform.into()),
            kill_switch: Some(change.kill_switch.into()),
            rollouts: rollouts(&change.rollouts),
            overrides: change.overrides.into_iter().map(owned).collect(),
            stale_ms: 0,
        }
    }
}

impl TryFrom<flags_pb::WatchSnapshotResponse> for SnapshotChange {
    type Error = InvalidField;
    fn try_from(wire: flags_pb::WatchSnapshotResponse) -> Result<Self, InvalidField> {
        let owned = |o: flags_pb::OwnedOverrides| {
            let owner = Owner {
                tenant: parse("tenant_id", &o.tenant_id)?,
                run: parse_opt("run_id", &o.run_id)?,
            };
            Ok::<_, InvalidField>((owner, o.overrides.unwrap_or_default().into()))
        };
        Ok(Self {
            version: wire.version,
            reset: wire.reset,
            platform: wire.platform.required("platform")?.into(),
            kill_switch: wire.kill_switch.unwrap_or_default().into(),
            rollouts: rollouts_from(wire.rollouts)?,
            overrides: wire
                .overrides
                .into_iter()
                .map(owned)
                .collect::<Result<_, _>>()
                .field("overrides")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(setting: &str, value: Value, percent: u32) -> pb::Rollout {
        pb::Rollout {
            setting: setting.to_owned(),
            value: Some(value.into()),
            percent,
            bucket_key: String::new(),
        }
    }

    #[test]
    fn rollouts_are_checked_and_named() {
        let good = wire("max_total_attempts", Value::Int(4), 100);
        let read = rollouts_from(vec![good.clone()]).unwrap();
        assert_eq!(read[&Setting::MaxTotalAttempts].bucket_key, "max_total_attempts");
        assert_eq!(rollouts_from(rollouts(&read)).unwrap(), read);
        for (bad, path) in [
            (vec![good.clone(), good], "rollouts[1].setting"),
            (vec![wire("colour", Value::Int(4), 1)], "rollouts[0].setting"),
            (vec![wire("max_total_attempts", Value::Int(4), 101)], "rollouts[0].percent"),
            (vec![wire("max_total_attempts", Value::Int(4), 300)], "rollouts[0].percent"),
            (
                vec![wire("max_total_attempts", Value::Bool(true), 1)],
                "rollouts[0].max_total_attempts",
            ),
            (
                vec![pb::Rollout { value: None, ..wire("autofix_enabled", Value::Int(1), 1) }],
                "rollouts[0].value",
            ),
        ] {
            assert_eq!(rollouts_from(bad).unwrap_err().path, path);
        }
    }

    #[test]
    fn a_snapshot_crosses_the_wire_unchanged() {
        let tenant = "00000000-0000-7000-8000-000000000001".parse().unwrap();
        let run = Some("00000000-0000-7000-8000-000000000002".parse().unwrap());
        let over = Overrides { max_total_attempts: Some(2), ..Overrides::default() };
        let change = SnapshotChange {
            version: 7,
            reset: true,
            platform: Settings::default_of(meta_domain::settings::Environment::Staging),
            kill_switch: Overrides { autofix_enabled: Some(false), ..Overrides::default() },
            rollouts: rollouts_from(vec![wire("backoff_cap_seconds", Value::Int(0), 5)]).unwrap(),
            overrides: vec![
                (Owner::tenant(tenant), Overrides::default()),
                (Owner { tenant, run }, over),
            ],
        };
        let wire = flags_pb::WatchSnapshotResponse::from(change.clone());
        assert_eq!(SnapshotChange::try_from(wire).unwrap(), change);
    }
}
