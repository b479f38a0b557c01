//! Values that nobody should send: each is refused with its field and its range, and nothing is
//! stored.

use crate::{Served, because, run_id};
use meta_proto::common::{Layer, Overrides};
use meta_proto::flags as pb;
use meta_proto::status::from_status;
use meta_storage::testing::Fresh;
use tonic::{Code, Status};

/// A field, its range as it is told, and values that are not in it.
const HOSTILE: [(&str, &str, &[u32]); 3] = [
    ("max_total_attempts", "expected 1 to 20", &[0, 21, 255, 256, 257, 65_536]),
    ("max_per_step_attempts", "expected 1 to 10", &[0, 11, 20, 256, 65_537]),
    ("backoff_cap_seconds", "expected 10 to 300", &[1, 9, 301, 65_566]),
];
/// Values that are in no range; some would be in one, were they cut to fewer bits.
const EVERYWHERE: [u32; 6] = [
    1 << 31,
    (1 << 31) + 15,
    u32::MAX,
    u32::MAX - 1,
    i32::MAX.unsigned_abs(),
    (1 << 16) + (1 << 24),
];

fn over(field: &str, value: u32) -> Overrides {
    let mut over = Overrides::default();
    match field {
        "max_total_attempts" => over.max_total_attempts = Some(value),
        "max_per_step_attempts" => over.max_per_step_attempts = Some(value),
        _ => over.backoff_cap_seconds = Some(value),
    }
    over
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str, value: u32, range: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{field} = {value}: {status}");
    let told = from_status(&status);
    let fields: Vec<_> = told.fields.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(fields, [field], "one clear error: {status}");
    let expected = format!("{value} is out of range ({range})");
    assert!(told.message.contains(&expected), "{status}");
}

meta_storage::on_both_engines! {
    a_value_out_of_range_is_refused_with_its_field_and_range_wherever_it_is_written;
    every_bad_field_of_a_write_is_named_at_once;
    a_write_without_a_document_is_refused;
}

async fn a_value_out_of_range_is_refused_with_its_field_and_range_wherever_it_is_written(
    fresh: Fresh,
) {
    let served = Served::start(&fresh).await;
    let (mut ann, run) = (served.caller(), run_id());
    let mut ops = ann.ops();
    for (field, range, values) in HOSTILE {
        for value in values.iter().copied().chain(EVERYWHERE) {
            let bad = over(field, value);
            for owner in ["", &run] {
                refused(ann.set(owner, bad).await, field, value, range);
                refused(ann.patch(owner, bad).await, field, value, range);
            }
            for layer in [Layer::Platform, Layer::KillSwitch] {
                let written = ops.platform(layer, bad, because("x")).await;
                refused(written, field, value, range);
            }
        }
    }
    assert_eq!(ann.version().await, 0);
    assert_eq!(
        (ann.changes("").await.unwrap(), ops.platform_changes().await.unwrap()),
        (vec![], vec![])
    );
}

async fn every_bad_field_of_a_write_is_named_at_once(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let bad = Overrides {
        autofix_enabled: Some(false),
        max_total_attempts: Some(0),
        max_per_step_attempts: Some(11),
        backoff_cap_seconds: Some(1 << 31),
    };
    for patch in [false, true] {
        let written = ann.write("", bad, patch, pb::WriteOptions::default()).await;
        let told = from_status(&written.unwrap_err());
        let fields: Vec<_> = told.fields.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(fields, ["max_total_attempts", "max_per_step_attempts", "backoff_cap_seconds"]);
    }
    assert_eq!(ann.version().await, 0, "what is good of it is not stored either");
}

async fn a_write_without_a_document_is_refused(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let request = ann.request(pb::SetOverridesRequest::default());
    let status = ann.client.set_overrides(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("overrides: "), "{status}");
}
