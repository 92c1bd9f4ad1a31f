//! The description of the API, made from its routes and wire types.
//!
//! Must never describe what is not served: it comes from the router itself.

use std::sync::LazyLock;

use api::Problem;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Required, Response,
    ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::serve::described;
use crate::serve::problem::PROBLEM_JSON;

/// The document as it is served: `GET /v1/openapi.json`.
pub fn openapi() -> String {
    DOCUMENT.clone()
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let (_, document) = described().split_for_parts();
    let mut text = completed(document).to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// Describe the API
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "node",
    responses((status = OK, description = "This document", content_type = "application/json"))
)]
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// Every route may refuse in these ways, whatever its handler does.
const ALWAYS: &[(&str, &str)] = &[
    ("400", "E-REQUEST, E-CURSOR, E-KEY"),
    ("401", "E-TOKEN (over the network)"),
    ("403", "E-ROLE, E-SCOPE, E-ADMINS-ONLY, E-NO-PEER, E-HOST, E-ORIGIN"),
    ("404", "E-NO-SUCH-PATH"),
    ("405", "E-METHOD"),
    ("429", "E-TOO-FAST"),
    ("500", "E-INTERNAL, E-JOURNAL"),
    ("503", "E-ENDING"),
];
/// So may those that change something.
const MUTATING: &[(&str, &str)] = &[
    ("413", "E-TOO-LARGE"),
    ("415", "E-MEDIA-TYPE"),
    ("422", "E-REQUEST, E-KEY-REUSED"),
    ("507", "E-DISK-FULL"),
];

/// Adds what is the same for all routes: problems, keys, who this is.
fn completed(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("migd")
        .version(format!("v{}", api::API_VERSION))
        .description(Some(
            "Slices of NVIDIA GPUs on request. Errors are problems (RFC 9457) with stable codes, \
             which docs/errors.md explains. Calls that change something take an \
             `Idempotency-Key`: the same call with the same key within an hour is answered like \
             the first one, and done once.",
        ))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").build()))
        .build();
    let components = document.components.get_or_insert_default();
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    for (status, codes) in ALWAYS.iter().chain(MUTATING) {
        let mut response = ResponseBuilder::new().description(*codes).build();
        shape(&mut response);
        components.responses.insert(shared(status), RefOr::T(response));
    }
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete] {
            let Some(operation) = operation else { continue };
            refusals(operation, ALWAYS);
        }
        for operation in [&mut item.put, &mut item.post, &mut item.delete] {
            let Some(operation) = operation else { continue };
            refusals(operation, MUTATING);
            key(operation);
        }
    }
    document
}

/// Adds problems to an operation, and their shape to those that it names itself.
fn refusals(operation: &mut Operation, known: &[(&str, &str)]) {
    let responses = &mut operation.responses.responses;
    for (status, codes) in known {
        match responses.get_mut(*status) {
            Some(RefOr::T(found)) if !found.description.contains(codes) => {
                found.description = format!("{}, {codes}", found.description);
            }
            Some(_) => {}
            None => {
                let known = Ref::from_response_name(shared(status));
                responses.insert((*status).to_owned(), RefOr::Ref(known));
            }
        }
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
        {
            shape(response);
        }
    }
}

/// Under which name the problems of a status stand among the components.
fn shared(status: &str) -> String {
    format!("Problem{status}")
}

fn shape(response: &mut Response) {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(content));
}

fn key(operation: &mut Operation) {
    let schema = ObjectBuilder::new().schema_type(Type::String).max_length(Some(200)).build();
    let parameter = ParameterBuilder::new()
        .name("idempotency-key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The same call with the same key within an hour is done once"))
        .schema(Some(schema))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
}
