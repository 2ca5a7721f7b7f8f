//! Errors as docker clients want them: a status, and `{"message":"…"}` of type `application/json`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::image::ImageError;
use crate::listener::container::{AskError, ClientError};
use crate::listener::execs::ExecError;
use crate::listener::machines::{MachineError, Wish};
use crate::listener::registry::ResolveError;
use crate::listener::store::LogError;
use crate::provider::ProviderError;

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }

    /// It cannot be done as things are.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            message: message.into(),
        }
    }

    /// It is known, and not done here.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_IMPLEMENTED,
            message: message.into(),
        }
    }

    /// It is not to be had here and now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.into(),
        }
    }

    /// It is known who may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message: message.into(),
        }
    }

    /// Our own failure.
    pub fn server(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "message": self.message }))).into_response()
    }
}

impl From<ResolveError> for ApiError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::None(_) => Self::not_found(error.to_string()),
            ResolveError::Ambiguous { .. } => Self::bad_request(error.to_string()),
        }
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        let status = match &error {
            ClientError::NotRunning(_)
            | ClientError::Running(_)
            | ClientError::NotStarted(_)
            | ClientError::Paused(_)
            | ClientError::StdinClosed(_)
            | ClientError::Taken(..) => StatusCode::CONFLICT,
            ClientError::NoLink(_) | ClientError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            ClientError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Client(error) => error.into(),
            AskError::Refused(_) | AskError::Gone(_) => Self::server(error.to_string()),
        }
    }
}

impl From<ExecError> for ApiError {
    fn from(error: ExecError) -> Self {
        let status = match &error {
            ExecError::None(_) => StatusCode::NOT_FOUND,
            ExecError::Started(_) => StatusCode::CONFLICT,
            ExecError::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

impl From<MachineError> for ApiError {
    fn from(error: MachineError) -> Self {
        let status = match error {
            MachineError::Client(error) => return error.into(),
            MachineError::Image(error) => return error.into(),
            MachineError::Wish(Wish::Refused(_))
            | MachineError::Provider(ProviderError::Config(_)) => StatusCode::NOT_IMPLEMENTED,
            MachineError::Wish(Wish::Bad(_))
            | MachineError::BadName(_)
            | MachineError::NotStarted(_) => StatusCode::BAD_REQUEST,
            MachineError::NoImage(_)
            | MachineError::NoVolume(_)
            | MachineError::NoNetwork(_)
            | MachineError::Provider(ProviderError::NoNetwork(_)) => StatusCode::NOT_FOUND,
            MachineError::Predefined(_)
            | MachineError::NetworkJoined { .. }
            | MachineError::NetworkUsed { .. } => StatusCode::FORBIDDEN,
            MachineError::NetworkApart { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            MachineError::Wired(_) | MachineError::Sized(_) => StatusCode::CONFLICT,
            MachineError::NameTaken { .. }
            | MachineError::NetworkTaken(_)
            | MachineError::ImageUsed { .. }
            | MachineError::VolumeUsed { .. }
            | MachineError::VolumeTaken { .. }
            | MachineError::Elsewhere(_) => StatusCode::CONFLICT,
            MachineError::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            MachineError::Provider(_)
            | MachineError::State(_)
            | MachineError::Registry(_)
            | MachineError::Key(_)
            | MachineError::Random(_)
            | MachineError::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        let status = match error {
            ImageError::Name(_) => StatusCode::BAD_REQUEST,
            ImageError::NotHere(_)
            | ImageError::Unknown(_)
            | ImageError::Denied(_)
            | ImageError::Platform { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        Self::server(error.to_string())
    }
}
