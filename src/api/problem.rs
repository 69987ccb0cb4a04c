//! Errors that a client reads (RFC 9457, problem details).

use super::json::JsonError;
use crate::bucket::policy::MAX_KEY_BYTES;
use crate::http::{Reject, Status};
use crate::metrics::core::ParseErrorKind;

/// Why a check cannot be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CheckProblem {
    #[error("no policy has this name; policies are defined by [[policy]] in the configuration")]
    UnknownPolicy,
    #[error("the key must be 1 to {MAX_KEY_BYTES} bytes, with every `%` followed by two hexadecimal digits")]
    BadKey,
    #[error("a cost of {cost} is above the burst of {burst} and could never be allowed")]
    CostAboveBurst { cost: u64, burst: u64 },
    #[error(
        "with the checks of this key before it the cost is {cost}, above the burst of {burst}, and could \
         never be allowed"
    )]
    SumAboveBurst { cost: u64, burst: u64 },
}

/// Why a well-formed request cannot be answered. The connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "nothing is here; try GET /v1/check/{{policy}}/{{key}}, POST /v1/check, GET /health or GET /metrics"
    )]
    NotFound,
    #[error("this path takes {0}")]
    MethodNotAllowed(&'static str),
    #[error("cost must be a whole number, given once, from 0 to the burst of the policy")]
    BadCost,
    #[error("deny_status must be 401, 403 or 429, given once")]
    BadDenyStatus,
    #[error("the only query parameters are deny_status and, where there is one check, cost")]
    UnknownParameter,
    #[error("the body must be {{\"checks\":[{{\"policy\":\"…\",\"key\":\"…\",\"cost\":1}}, …]}}: {0}")]
    BadJson(#[from] JsonError),
    #[error(transparent)]
    Check(#[from] CheckProblem),
    #[error("check {index}: {problem}")]
    InBatch { index: usize, problem: CheckProblem },
}

impl CheckProblem {
    const fn status(self) -> Status {
        match self {
            Self::UnknownPolicy => Status::NotFound,
            Self::BadKey | Self::CostAboveBurst { .. } | Self::SumAboveBurst { .. } => Status::BadRequest,
        }
    }

    const fn kind(self) -> ParseErrorKind {
        match self {
            Self::UnknownPolicy => ParseErrorKind::UnknownPolicy,
            Self::BadKey => ParseErrorKind::BadKey,
            Self::CostAboveBurst { .. } | Self::SumAboveBurst { .. } => ParseErrorKind::BadCost,
        }
    }
}

impl Problem {
    pub(super) const fn status(&self) -> Status {
        match self {
            Self::NotFound => Status::NotFound,
            Self::MethodNotAllowed(_) => Status::MethodNotAllowed,
            Self::Check(problem) | Self::InBatch { problem, .. } => problem.status(),
            Self::BadCost | Self::BadDenyStatus | Self::UnknownParameter | Self::BadJson(_) => {
                Status::BadRequest
            }
        }
    }

    /// The value of `Allow`, where the method was wrong.
    pub(super) const fn allow(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed(methods) => Some(methods),
            _ => None,
        }
    }

    pub(super) const fn kind(&self) -> ParseErrorKind {
        match self {
            Self::NotFound => ParseErrorKind::NotFound,
            Self::MethodNotAllowed(_) => ParseErrorKind::MethodNotAllowed,
            Self::BadCost => ParseErrorKind::BadCost,
            Self::BadDenyStatus | Self::UnknownParameter => ParseErrorKind::BadRequest,
            Self::BadJson(_) => ParseErrorKind::BadJson,
            Self::Check(problem) | Self::InBatch { problem, .. } => problem.kind(),
        }
    }
}

/// How a refused request is counted.
pub(super) const fn kind_of(reject: Reject) -> ParseErrorKind {
    match reject {
        Reject::HeadersTooLarge => ParseErrorKind::HeadersTooLarge,
        Reject::TargetTooLong => ParseErrorKind::TargetTooLong,
        Reject::BodyTooLarge => ParseErrorKind::BodyTooLarge,
        Reject::Timeout => ParseErrorKind::Timeout,
        _ => ParseErrorKind::BadRequest,
    }
}
