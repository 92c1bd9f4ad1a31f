//! Calls of the client about access: tokens and the audit.
//!
//! Must never print or keep the secret of a token: that is its caller's.

use hyper::Method;

use crate::access::{AuditView, TokenMade, TokenRequest, TokenView};
use crate::client::{Client, ClientError};
use crate::v1::Page;

impl Client {
    /// Makes a token. Repeated with the same key it is made once, and its secret told once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(
        &self,
        request: &TokenRequest,
        key: &str,
    ) -> Result<TokenMade, ClientError> {
        self.call(Method::POST, "/v1/tokens", Some(request), Some(key)).await
    }

    /// Lists tokens, revoked and expired ones too.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.all("/v1/tokens?limit=1000").await
    }

    /// Revokes a token; one that is revoked stays as it is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, id: u64) -> Result<TokenView, ClientError> {
        self.call(Method::DELETE, &format!("/v1/tokens/{id}"), None::<&()>, None).await
    }

    /// The newest `count` calls that were to change something, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(&self, count: u32) -> Result<Vec<AuditView>, ClientError> {
        let mut found: Vec<AuditView> = Vec::new();
        let mut cursor = String::new();
        loop {
            let limit = (count as usize - found.len()).min(1000);
            let path = format!("/v1/audit?limit={limit}{cursor}");
            let mut page: Page<AuditView> = self.get(&path).await?;
            found.append(&mut page.items);
            match page.next {
                Some(next) if found.len() < count as usize => cursor = format!("&cursor={next}"),
                _ => return Ok(found),
            }
        }
    }
}
