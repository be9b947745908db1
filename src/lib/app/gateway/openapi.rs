//! The API as an OpenAPI document, with every error as it is answered; and a page that shows it.

use std::collections::BTreeMap;

use axum::Router;
use serde_json::Value;
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
        example::ExampleBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{key, routes};
use crate::{
    Code, FieldError, Status,
    app::api::answers,
    http::problem::{MEDIA_TYPE, Problem},
};

/// The document, and a page at `/docs` that shows it and loads nothing from elsewhere.
pub(super) fn router(asks_for_tokens: bool) -> Router {
    // The page would else show the document to a validator on the web.
    let config = Config::default().validator_url("none");
    let page = SwaggerUi::new("/docs").config(config);
    page.url("/openapi.json", document(asks_for_tokens)).into()
}

fn document(asks_for_tokens: bool) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    if !asks_for_tokens {
        let items = document.paths.paths.values_mut();
        let operations = items.flat_map(|item| [&mut item.get, &mut item.post]);
        for operation in operations.flatten() {
            operation.security = None;
        }
    }
    document
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "nats-serve",
        description = "Users, and their registration. \n\n\
            Every answer has `x-request-id`, and `traceparent` where it is traced. A request may bring an `x-request-id` of \
            its own (1 to 64 of `A-Z a-z 0-9 - _ .`), a `traceparent`, and `request-timeout-ms`, the time that it has, \
            1 to 30000, 2000 if it is left out; what can't be used of these is ignored. \
            What has no time left is answered 504.\n\n\
            What fails is answered by a problem document (RFC 9457); its `type` tells apart what has one status.\n\n\
            Where operations ask for `token`, every request but those of `/` and `/health` shows one.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(routes::index, routes::health, routes::user, routes::register),
    components(schemas(ProblemDetails)),
    modifiers(&Bearer),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// What fails, as RFC 9457 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it tells the shape")]
#[schema(as = Problem)]
struct ProblemDetails {
    /// Which problem it is: `urn:nats-serve:problem:` and a name, or `about:blank` for a bug.
    #[schema(format = "uri", example = "urn:nats-serve:problem:not_found")]
    r#type: String,
    /// The HTTP status in words.
    #[schema(example = "Not Found")]
    title: String,
    /// The HTTP status.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    status: u16,
    /// What went wrong this time, in words for the caller.
    #[schema(example = "no user has this id")]
    detail: String,
    /// Which request it was: `urn:nats-serve:request:` and its `x-request-id`.
    #[schema(
        format = "uri",
        example = "urn:nats-serve:request:3r8mf7nfyjyb",
        nullable = false
    )]
    instance: Option<String>,
    /// The request's trace, where it is traced.
    #[schema(pattern = "^[0-9a-f]{32}$", nullable = false)]
    trace_id: Option<String>,
    /// The fields that are wrong, if some are.
    #[schema(nullable = false)]
    errors: Option<Vec<ProblemField>>,
}

/// A field that is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it tells the shape")]
struct ProblemField {
    /// Its name, of a header as of the body.
    #[schema(example = "email")]
    field: String,
    /// What is wrong with it.
    #[schema(example = "must be an e-mail address")]
    message: String,
}

/// What is registered.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it tells the shape")]
pub(super) struct Registration {
    /// 1 to 100 characters, not only blanks, and none that controls or turns round what is around it.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]*[^\s\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069][^\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]*$",
        example = "David"
    )]
    name: String,
    /// Where the welcome mail goes; one user has it, in whatever case it is written.
    #[schema(format = "email", max_length = 254, example = "david@example.com")]
    email: String,
}

/// How `GET /health` may fail.
pub(super) struct HealthProblems;

impl IntoResponses for HealthProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let words = "too many connections at the moment";
        problems(vec![Status::new(Code::Overloaded, words)])
    }
}

/// How `GET /` may fail.
pub(super) struct IndexProblems;

impl IntoResponses for IndexProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = of_every_request();
        all.push(Status::new(
            Code::DeadlineExceeded,
            "the request took too long",
        ));
        problems(all)
    }
}

/// How a request for a user may fail.
pub(super) struct UserProblems;

impl IntoResponses for UserProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = of_every_call();
        all.extend([
            answers::unknown(),
            Status::new(
                Code::DeadlineExceeded,
                "no answer from database-service in time",
            ),
        ]);
        problems(all)
    }
}

/// How a registration may fail.
pub(super) struct RegistrationProblems;

impl IntoResponses for RegistrationProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let field = vec![FieldError::new("email", "must be an e-mail address")];
        let mut all = of_every_call();
        all.extend([
            Status::new(
                Code::Malformed,
                "the body is not JSON: see line 1, column 9",
            ),
            Status::new(Code::RequestTimeout, "the body did not come in time"),
            answers::taken(),
            answers::under_way(),
            Status::new(Code::TooLarge, "the body is too large"),
            Status::new(
                Code::UnsupportedMediaType,
                "send the body with `content-type: application/json`",
            ),
            Status::invalid("some fields are not valid", field),
            key::malformed(),
            answers::other_body(),
            routes::unknown_outcome(),
        ]);
        let mut responses = problems(all);
        // Where it may have happened, whoever sent no key learns the one that it had.
        for status in ["500", "503", "504"] {
            if let Some(RefOr::T(response)) = responses.get_mut(status) {
                let text = ObjectBuilder::new().schema_type(Type::String);
                let header = HeaderBuilder::new().schema(Some(text)).description(Some(
                    "The key that the gateway made, where none was sent: repeat the request with it.",
                ));
                let headers = &mut response.headers;
                headers.insert("Idempotency-Key".to_owned(), header.build().into());
            }
        }
        responses
    }
}

fn of_every_request() -> Vec<Status> {
    vec![
        Status::new(
            Code::RateLimited,
            "too many requests from this client; slow down",
        ),
        Status::new(Code::Internal, "internal error"),
        Status::new(Code::Overloaded, "too busy at the moment"),
    ]
}

fn of_every_call() -> Vec<Status> {
    let mut all = of_every_request();
    all.extend([
        Status::new(
            Code::Unauthenticated,
            "send a token: `Authorization: Bearer <token>`",
        ),
        Status::unavailable("no user-service is running"),
    ]);
    all
}

/// One response a status, with each of its problems as an example.
fn problems(all: Vec<Status>) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<Status>>::new();
    for status in all {
        let http = status.code().http_status();
        by_status.entry(http).or_default().push(status);
    }
    let responses = by_status.into_iter();
    responses
        .map(|(http, problems)| (http.to_string(), response(&problems).into()))
        .collect()
}

fn response(problems: &[Status]) -> Response {
    let examples = problems.iter().map(|status| {
        let name = status.reason().unwrap_or(status.code().as_str());
        (name, ExampleBuilder::new().value(Some(example(status))))
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples);
    let words: Vec<&str> = problems.iter().map(Status::message).collect();
    let mut response = ResponseBuilder::new()
        .description(words.join("; or "))
        .content(MEDIA_TYPE, content.build());
    let text = || ObjectBuilder::new().schema_type(Type::String);
    if problems.iter().any(Status::is_retryable) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer);
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some(
            "After how many seconds the same request may be repeated, where that may help.",
        ));
        response = response.header("Retry-After", header.build());
    }
    if problems
        .iter()
        .any(|one| one.code() == Code::Unauthenticated)
    {
        let header = HeaderBuilder::new().schema(Some(text()));
        response = response.header("WWW-Authenticate", header.build());
    }
    response.build()
}

fn example(status: &Status) -> Value {
    let trace_id = "51ba02253eb7433403385d8be2408e69".to_owned();
    let problem = Problem::new(status, Some("3r8mf7nfyjyb"), Some(trace_id));
    serde_json::to_value(problem).unwrap_or_default()
}
