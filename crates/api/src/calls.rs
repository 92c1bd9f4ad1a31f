//! Calls of the client about access, GPUs, bookings and changes.
//!
//! Must never print or keep the secret of a token: that is its caller's.

use std::time::Duration;

use hyper::Method;
use model::ChangeId;

use crate::access::{AuditView, TokenMade, TokenRequest, TokenView};
use crate::changes::{ChangeView, PlanDocument, PlanRequest};
use crate::client::{Client, ClientError, escape};
use crate::holders::BusyView;
use crate::rooms::{BookingRequest, BookingView, CordonRequest};
use crate::v1::{GpuView, Page};

impl Client {
    /// Takes a GPU (index, UUID or PCI address) out of use; with `drain`, leases that are there and
    /// agreed to it are asked to leave.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cordon(
        &self,
        gpu: &str,
        drain: bool,
        why: Option<String>,
    ) -> Result<GpuView, ClientError> {
        let verb = if drain { "drain" } else { "cordon" };
        let path = format!("/v1/gpus/{}/{verb}", escape(gpu));
        self.call(Method::POST, &path, Some(&CordonRequest { why }), None).await
    }

    /// Asks who holds a GPU (index, UUID or PCI address), or an instance of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn holders(
        &self,
        gpu: &str,
        gpu_instance: Option<u32>,
        compute_instance: Option<u32>,
    ) -> Result<BusyView, ClientError> {
        let part = |name: &str, id: Option<u32>| id.map(|id| format!("{name}={id}"));
        let parts =
            [part("gpu_instance", gpu_instance), part("compute_instance", compute_instance)];
        let query: Vec<String> = parts.into_iter().flatten().collect();
        self.get(&format!("/v1/gpus/{}/holders?{}", escape(gpu), query.join("&"))).await
    }

    /// Puts a GPU back into use.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn uncordon(&self, gpu: &str) -> Result<GpuView, ClientError> {
        let path = format!("/v1/gpus/{}/uncordon", escape(gpu));
        self.call(Method::POST, &path, None::<&()>, None).await
    }

    /// Books room. Repeated with the same key it is booked once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn book(
        &self,
        request: &BookingRequest,
        key: &str,
    ) -> Result<BookingView, ClientError> {
        self.call(Method::POST, "/v1/bookings", Some(request), Some(key)).await
    }

    /// Lists bookings that are not over.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bookings(&self) -> Result<Vec<BookingView>, ClientError> {
        self.all("/v1/bookings?limit=1000").await
    }

    /// Gives a booking up, by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_booking(&self, booking: &str) -> Result<BookingView, ClientError> {
        self.call(Method::DELETE, &format!("/v1/bookings/{}", escape(booking)), None::<&()>, None)
            .await
    }

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

    /// Asks what would have to be done for a wish; nothing is changed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plan(&self, request: &PlanRequest) -> Result<PlanDocument, ClientError> {
        self.call(Method::POST, "/v1/changes/plan", Some(request), None).await
    }

    /// Has a plan carried out exactly. Repeated with the same key it is carried out once.
    ///
    /// # Errors
    /// [`ClientError`]: `E-MACHINE-CHANGED` if the machine is no longer as it was planned for,
    /// `E-BUSY` if something is in the way or another change is under way there.
    pub async fn change(&self, plan: &PlanDocument, key: &str) -> Result<ChangeView, ClientError> {
        self.call(Method::POST, "/v1/changes", Some(plan), Some(key)).await
    }

    /// Lists changes, those under way and the newest that ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn changes(&self) -> Result<Vec<ChangeView>, ClientError> {
        self.all("/v1/changes?limit=1000").await
    }

    /// Reads a change.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change_of(&self, change: ChangeId) -> Result<ChangeView, ClientError> {
        self.get(&format!("/v1/changes/{change}")).await
    }

    /// Reads a change once its revision exceeds `seen`, or after `patience` as it is then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change_after(
        &self,
        change: ChangeId,
        seen: u64,
        patience: Duration,
    ) -> Result<ChangeView, ClientError> {
        let wait = patience.as_millis();
        self.get(&format!("/v1/changes/{change}?after={seen}&wait_ms={wait}")).await
    }

    /// Cancels a change: what was done is taken back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_change(&self, change: ChangeId) -> Result<ChangeView, ClientError> {
        self.call(Method::POST, &format!("/v1/changes/{change}/cancel"), None::<&()>, None).await
    }

    /// Hands a GPU that a file fixed back to automatic management.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hand_back(&self, gpu: &str) -> Result<GpuView, ClientError> {
        let path = format!("/v1/gpus/{}/auto", escape(gpu));
        self.call(Method::POST, &path, None::<&()>, None).await
    }
}
