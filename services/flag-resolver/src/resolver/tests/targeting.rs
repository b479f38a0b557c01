//! What a client in another process makes of a flag: as much of JSON logic as we write.

use super::*;
use meta_domain::settings::openfeature::{RUN_ATTRIBUTE, TENANT_ATTRIBUTE, variant};
use serde_json::Value as Json;

/// What an evaluation is about; names that are absent are not in the context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub tenant: Option<TenantId>,
    pub run: Option<RunId>,
}

/// The value of a flag, and the layer that its variant names.
pub(super) fn evaluate(flag: &Json, context: Context) -> (Value, Layer) {
    assert_eq!(flag["state"], "ENABLED");
    let chosen = flag.get("targeting").map_or(Json::Null, |rule| logic(rule, context));
    let chosen = if chosen.is_null() { &flag["defaultVariant"] } else { &chosen };
    let name = chosen.as_str().expect("a variant is named");
    let layer = name.split(':').next().unwrap();
    let layer = Layer::ALL.iter().find(|l| variant(**l) == layer).expect("a variant names a layer");
    let value = serde_json::from_value(flag["variants"][name].clone()).expect("a value");
    (value, *layer)
}

fn logic(rule: &Json, context: Context) -> Json {
    let Json::Object(rule) = rule else { return rule.clone() };
    let (operator, operands) = rule.iter().next().expect("an operator");
    let operands = operands.as_array().cloned().unwrap_or_else(|| vec![operands.clone()]);
    let of = |i: usize| operands.get(i).map_or(Json::Null, |operand| logic(operand, context));
    match operator.as_str() {
        "var" => match attribute(of(0).as_str().expect("a name"), context) {
            Json::Null => of(1),
            found => found,
        },
        "==" => Json::Bool(of(0) == of(1)),
        "in" => Json::Bool(operands[1].as_array().expect("a list").contains(&of(0))),
        "and" => Json::Bool((0..operands.len()).all(|i| of(i) == Json::Bool(true))),
        "if" => {
            let (rules, otherwise) = operands.as_chunks::<2>();
            let first = rules.iter().find(|[when, _]| logic(when, context) == Json::Bool(true));
            let then = first.map(|[_, then]| then).or(otherwise.first());
            then.map_or(Json::Null, |then| logic(then, context))
        }
        other => panic!("{other} is not written"),
    }
}

fn attribute(name: &str, context: Context) -> Json {
    let text = match name {
        TENANT_ATTRIBUTE => context.tenant.map(|t| t.to_string()),
        RUN_ATTRIBUTE => context.run.map(|r| r.to_string()),
        other => panic!("{other} is no attribute of ours"),
    };
    text.map_or(Json::Null, Json::String)
}
