//! The OpenAPI document, made from the handlers and the shapes they use.
//!
//! What all routes share is added here once: the credential and the problem answer. INVARIANT: the
//! document's paths are the route table's; a test compares them.

use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response as Answer, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Ref, RefOr, SecurityRequirement};
use utoipa::{Modify, OpenApi};

use super::Paths;
use crate::auth::cookie;
use crate::frames::{ClientFrame, ServerFrame};
use crate::problem::ProblemBody;

#[derive(OpenApi)]
#[openapi(
    info(title = "Hansard", description = "See PROTOCOL.md for guarantees and rules."),
    components(schemas(ProblemBody, ClientFrame, ServerFrame)),
    modifiers(&Shared),
)]
struct Api;

struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut Document) {
        document.merge(Paths::openapi());
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(cookie::NAME)));
        components.add_security_scheme("bearer", bearer);
        components.add_security_scheme("cookie", cookie);
        let none: [&str; 0] = [];
        document.security = Some(vec![
            SecurityRequirement::new("bearer", none),
            SecurityRequirement::new("cookie", none),
        ]);
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for operation in operations.into_iter().flatten() {
                add_problem(operation);
            }
        }
    }
}

fn add_problem(operation: &mut Operation) {
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let answer: Answer = ResponseBuilder::new()
        .description("A problem; see `code`.")
        .content("application/problem+json", content)
        .build();
    operation.responses.responses.insert("default".into(), RefOr::T(answer));
}

/// The document.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "operations", security(()),
    responses((status = 200, body = serde_json::Value)),
)]
pub(crate) async fn serve() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::ROUTES;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let value = serde_json::to_value(document()).unwrap();
        let mut found = BTreeSet::new();
        for (path, item) in value["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                found.insert((method.clone(), path.clone()));
            }
        }
        let routes: BTreeSet<_> =
            ROUTES.iter().map(|(method, path)| ((*method).into(), (*path).into())).collect();
        assert_eq!(found, routes);
    }

    #[test]
    fn every_reference_resolves_and_every_answer_may_be_a_problem() {
        let value = serde_json::to_value(document()).unwrap();
        let text = value.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(value.pointer(pointer).is_some(), "{pointer}");
        }
        for (method, path) in ROUTES {
            let operation = &value["paths"][path][method];
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
        assert!(value["openapi"].as_str().unwrap().starts_with("3.1"));
    }

    #[test]
    fn answers_have_no_undescribed_fields() {
        let value = serde_json::to_value(document()).unwrap();
        for name in ["Message", "MessagePage", "Room", "Category", "User", "ChangePage", "Event"] {
            let schema = &value["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{name}: {schema}");
        }
    }
}
