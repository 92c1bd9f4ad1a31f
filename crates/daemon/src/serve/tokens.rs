//! Tokens: making, listing, revoking and showing them.
//!
//! Must never keep or compare a secret itself: its SHA-256 is kept, and compared in constant time.

use std::sync::Arc;
use std::time::Instant;

use api::{Page, Role, TokenMade, TokenRequest, TokenView};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use host::Users;
use model::{Tenant, Timestamp, Uid};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use store::{StoreError, TokenRecord};
use subtle::ConstantTimeEq as _;

use crate::ledger::KeeperGone;
use crate::serve::caller::Origin;
use crate::serve::extract::{Body, Params, Segment};
use crate::serve::gate::{ToldOnce, too_fast};
use crate::serve::limits::Who;
use crate::serve::page::{Paging, page};
use crate::serve::{App, Caller, Failure, nouns};
use crate::settings::Settings;

const DAY_MS: u64 = 86_400_000;
/// How long a token counts unless told, and at most.
const LIFE_MS: u64 = 30 * DAY_MS;
const LIFE_MAX_MS: u64 = 366 * DAY_MS;
/// The most tokens that may count at a time: each is looked at when they are listed.
const TOKENS_MAX: usize = 1000;
/// What every token begins with, so that scanners for leaked secrets know it.
const PREFIX: &str = "migd_";
/// Whom a token that may only look acts as.
const NOBODY: Uid = Uid::new(65_534);

/// What every token may read, whatever its scopes.
const OPEN: &[&str] = &["version", "openapi.json"];

/// The caller whose token a request shows.
pub(super) fn show(
    app: &App,
    origin: Origin,
    request: &Request,
    now: Instant,
) -> Result<Caller, Failure> {
    check_host(app, request)?;
    let stranger = origin.address.map(|address| Who::Address(address.ip()));
    if let Some(wait) = stranger.and_then(|who| app.guard.rates.is_spent(who, now)) {
        return Err(too_fast(wait));
    }
    let refused = |failure| {
        // Guesses are counted; calls with a token that counts are not.
        let _ = stranger.map(|who| app.guard.rates.take(who, now));
        Err(failure)
    };
    let Some(text) = request.headers().get(header::AUTHORIZATION) else {
        return refused(
            unauthorized("over the network every call needs a token")
                .hint("send `Authorization: Bearer ...`; `migctl token create` makes one"),
        );
    };
    let secret = text.to_str().ok().and_then(|text| {
        let (scheme, secret) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    });
    let token = secret.and_then(|secret| find(app, secret));
    let Some(token) = token else {
        return refused(unauthorized("this token is unknown, revoked or expired"));
    };
    let Some(role) = Role::of_name(&token.role) else {
        return Err(Failure::internal("a token with an unknown role"));
    };
    check_scope(&token, request)?;
    Ok(Caller {
        origin,
        uid: Uid::new(token.uid),
        role,
        tenant: Some(Tenant::new(token.tenant.clone())),
        token: Some(token),
        key: None,
    })
}

fn unauthorized(words: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, "E-TOKEN", words)
}

/// Only callers that mean this host are answered, and no page of another site: what a browser was
/// lured to send carries another name or origin.
fn check_host(app: &App, request: &Request) -> Result<(), Failure> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let known = |host: &str| app.guard.hosts.knows(host);
    let host = text(header::HOST).unwrap_or_default();
    if !known(host) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "E-HOST",
            format!("this daemon is not called `{host}`"),
        )
        .hint("call it by its address, or add the name to its configuration"));
    }
    let foreign = text(header::ORIGIN).is_some_and(|origin| {
        let of = origin.split_once("://").map(|(_, host)| host);
        !of.is_some_and(known)
    });
    if foreign || text(HeaderName::from_static("sec-fetch-site")) == Some("cross-site") {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "E-ORIGIN",
            "pages of other sites may not call this daemon",
        ));
    }
    Ok(())
}

/// The token of a secret, if it counts.
fn find(app: &App, secret: &str) -> Option<Arc<TokenRecord>> {
    let (id, random) = secret.strip_prefix(PREFIX)?.split_once('_')?;
    let token = app.guard.keeper.tokens().get(&id.parse().ok()?).cloned()?;
    let shown = Sha256::digest(random.as_bytes());
    let same = bool::from(shown.as_slice().ct_eq(&token.digest));
    (same && counts(&token, app.clock.now())).then_some(token)
}

fn counts(token: &TokenRecord, now: Timestamp) -> bool {
    token.revoked_at.is_none() && now < token.expires_at
}

/// Whether the token's scopes hold the call: `noun:read` or `noun:write`, the noun being the first
/// word of the path.
fn check_scope(token: &TokenRecord, request: &Request) -> Result<(), Failure> {
    let path = request.uri().path();
    let noun = path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next()).unwrap_or("");
    let right = if request.method().is_safe() { "read" } else { "write" };
    let needed = format!("{noun}:{right}");
    let open = right == "read" && OPEN.contains(&noun);
    if open || token.scopes.is_empty() || token.scopes.contains(&needed) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        "E-SCOPE",
        format!("this token holds {}, and the call needs {needed}", token.scopes.join(", ")),
    ))
}

fn view(token: &TokenRecord, now: Timestamp) -> TokenView {
    TokenView {
        id: token.id,
        name: token.name.clone(),
        role: Role::of_name(&token.role).unwrap_or(Role::Viewer),
        uid: token.uid,
        tenant: token.tenant.clone(),
        scopes: token.scopes.clone(),
        created_at_ms: token.created_at.as_millis(),
        created_by: token.created_by,
        expires_at_ms: token.expires_at.as_millis(),
        revoked_at_ms: token.revoked_at.map(Timestamp::as_millis),
        now_ms: now.as_millis(),
    }
}

/// List tokens, revoked and expired ones too
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", operation_id = "list_tokens",
    params(Paging),
    responses((status = OK, body = Page<TokenView>))
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<TokenView>>, Failure> {
    caller.admin()?;
    let limit = paging.limit()?;
    let after = paging.after("tokens")?.unwrap_or(0);
    let now = app.clock.now();
    let tokens = app.guard.keeper.tokens();
    let found = tokens.values().filter(|token| token.id > after).take(limit as usize + 1);
    let views = found.map(|token| view(token, now)).collect();
    Ok(Json(page("tokens", views, limit, |token| token.id)))
}

/// Make a token
///
/// The answer holds its secret, which is told this once. With the same key again the answer is the
/// problem E-TOLD-ONCE.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token",
    request_body = TokenRequest,
    responses(
        (status = CREATED, body = TokenMade, headers(("location" = String, description = "Its path"))),
        (status = CONFLICT, description = "E-TOLD-ONCE, E-TOKENS-MANY"),
        (status = UNPROCESSABLE_ENTITY, description = "E-REQUEST, E-TOKEN-NAME, E-TOKEN-USER, \
            E-TOKEN-SCOPE, E-TOKEN-LIFE"),
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<TokenRequest>,
) -> Result<Response, Failure> {
    caller.admin()?;
    let now = app.clock.now();
    if app.guard.keeper.tokens().values().filter(|token| counts(token, now)).count() >= TOKENS_MAX {
        let words = format!("there are {TOKENS_MAX} tokens that count");
        return Err(Failure::new(StatusCode::CONFLICT, "E-TOKENS-MANY", words)
            .hint("revoke those that nobody needs: `migctl token list`"));
    }
    let random = random().ok_or_else(|| Failure::internal("the system gives no randomness"))?;
    let digest = Sha256::digest(random.as_bytes()).to_vec();
    let settings = Arc::clone(&app.published.borrow().settings);
    let mut token = parse(body, &caller, &settings, digest, now)?;
    token.id = told(app.guard.keeper.keep_token(token.clone()).await)?;
    let location = format!("/v1/tokens/{}", token.id);
    let secret = format!("{PREFIX}{}_{random}", token.id);
    let made = TokenMade { token: view(&token, now), secret };
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response();
    response.extensions_mut().insert(ToldOnce);
    Ok(response)
}

fn told<T>(answer: Result<Result<T, StoreError>, KeeperGone>) -> Result<T, Failure> {
    answer.map_err(|_| Failure::ending())?.map_err(|error| Failure::from(&error))
}

/// 256 random bits as text.
fn random() -> Option<String> {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 32];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty()).ok()?;
    (filled == bytes.len()).then(|| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    })
}

fn parse(
    body: TokenRequest,
    caller: &Caller,
    settings: &Settings,
    digest: Vec<u8>,
    now: Timestamp,
) -> Result<TokenRecord, Failure> {
    let refuse =
        |code: &str, words: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, words);
    for (what, text) in [("name", Some(&body.name)), ("tenant", body.tenant.as_ref())] {
        let plain = |text: &String| {
            (1..=63).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
        };
        if let Some(text) = text.filter(|text| !plain(text)) {
            let words = format!(
                "`{text}` cannot be a {what}: use up to 63 letters, digits and the characters - _ . @"
            );
            return Err(refuse("E-TOKEN-NAME", words));
        }
    }
    let users = Users::load();
    let uid = match (&body.user, body.role) {
        (Some(user), _) => {
            let found = users.uid_of(user).or_else(|| user.parse().ok().map(Uid::new));
            found.ok_or_else(|| refuse("E-TOKEN-USER", format!("there is no user `{user}`")))?
        }
        (None, Role::Viewer) => NOBODY,
        (None, Role::User) => {
            let words = "a token with the role user acts as a user; say which".to_owned();
            return Err(refuse("E-TOKEN-USER", words));
        }
        (None, Role::Admin) => caller.uid,
    };
    let known = nouns();
    for scope in &body.scopes {
        let sound = scope
            .split_once(':')
            .is_some_and(|(noun, right)| known.contains(noun) && matches!(right, "read" | "write"));
        if !sound {
            let nouns: Vec<&str> = known.iter().map(String::as_str).collect();
            let words = format!(
                "`{scope}` is no scope: write NOUN:read or NOUN:write, NOUN being one of {}",
                nouns.join(", ")
            );
            return Err(refuse("E-TOKEN-SCOPE", words));
        }
    }
    let life = body.life_ms.unwrap_or(LIFE_MS);
    if !(1..=LIFE_MAX_MS).contains(&life) {
        return Err(refuse("E-TOKEN-LIFE", "a token counts for 1 ms to 366 days".to_owned()));
    }
    let configured = || settings.members.tenant_of(uid).map(|tenant| tenant.to_string());
    Ok(TokenRecord {
        id: 0,
        name: body.name,
        digest,
        role: body.role.name().to_owned(),
        uid: uid.get(),
        tenant: body.tenant.or_else(configured).unwrap_or_else(|| users.label(uid)),
        scopes: body.scopes,
        created_at: now,
        created_by: caller.uid.get(),
        expires_at: Timestamp::from_millis(now.as_millis().saturating_add(life)),
        revoked_at: None,
    })
}

/// Revoke a token
#[utoipa::path(
    delete, path = "/v1/tokens/{token}", tag = "tokens", operation_id = "revoke_token",
    params(("token" = u64, Path, description = "Its number")),
    responses(
        (status = OK, body = TokenView),
        (status = BAD_REQUEST, description = "E-REQUEST"),
        (status = NOT_FOUND, description = "E-TOKEN-UNKNOWN"),
    )
)]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Segment(id): Segment<u64>,
) -> Result<Json<TokenView>, Failure> {
    caller.admin()?;
    let now = app.clock.now();
    let known = |app: &App| app.guard.keeper.tokens().get(&id).cloned();
    if known(&app).is_some_and(|token| token.revoked_at.is_none()) {
        told(app.guard.keeper.revoke_token(id, now).await)?;
    }
    let token = known(&app).ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "E-TOKEN-UNKNOWN",
            format!("there is no token with the number {id}"),
        )
        .hint("`migctl token list` shows them")
    })?;
    Ok(Json(view(&token, now)))
}
