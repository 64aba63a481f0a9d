//! What an object store's client asks of its server, seen where it is sent:
//! the client tells neither which request it makes of a call, nor the status
//! of what succeeds.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, Result};

use super::objects::ObjectsError;
use crate::telemetry::outward::{Asked, Outward, Server};

tokio::task_local! {
    /// What the call under way has asked by now.
    static ASKED: Arc<Mutex<Option<Asked>>>;
}

/// Does something that calls the object store, and has the call tell what was
/// asked, and how it failed if it did. Not what comes of a body that is still
/// to be read.
pub async fn watched<T>(
    call: &mut Option<Outward>,
    what: impl Future<Output = Result<T, ObjectsError>>,
) -> Result<T, ObjectsError> {
    let Some(call) = call else {
        return what.await;
    };
    let asked = Arc::default();
    let result = ASKED.scope(Arc::clone(&asked), what).await;
    if let Err(error) = &result {
        call.failed(error.name());
    }
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(asked) = asked {
        call.asked(&asked);
    }
    result
}

/// Connects as the client would by itself, and looks on.
#[derive(Debug, Default)]
pub struct Watching(ReqwestConnector);

impl HttpConnector for Watching {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(Watched(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Watched(HttpClient);

impl HttpService for Watched {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let Ok(asked) = ASKED.try_with(Arc::clone) else {
                return self.0.execute(request).await;
            };
            let (method, server) = (request.method().clone(), Server::of_uri(request.uri()));
            let answer = self.0.execute(request).await;
            let status = answer.as_ref().ok().map(|it| it.status().as_u16());
            let mut last = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let before = last.take().map(|it| it.resends.saturating_add(1));
            *last = Some(Asked {
                method,
                server,
                status,
                resends: before.unwrap_or_default(),
            });
            drop(last);
            answer
        })
    }
}
