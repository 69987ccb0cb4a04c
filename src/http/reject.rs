//! Why a request is refused, and with which status.

use super::head::MAX_HEADERS;

/// A status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 409
    Conflict,
    /// 411
    LengthRequired,
    /// 413
    ContentTooLarge,
    /// 414
    UriTooLong,
    /// 417
    ExpectationFailed,
    /// 429
    TooManyRequests,
    /// 431
    HeadersTooLarge,
    /// 501
    NotImplemented,
    /// 503
    ServiceUnavailable,
    /// 504
    GatewayTimeout,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// Code and reason phrase, as they stand in the status line.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Conflict => "409 Conflict",
            Self::LengthRequired => "411 Length Required",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeadersTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::GatewayTimeout => "504 Gateway Timeout",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The three digits.
    #[must_use]
    pub fn code(self) -> &'static str {
        &self.line()[..3]
    }

    /// The reason phrase.
    #[must_use]
    pub fn reason(self) -> &'static str {
        &self.line()[4..]
    }
}

/// Why the bytes of a client are not a request that this server takes.
///
/// After any of these nobody can say where the next request begins, so the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// The request line does not follow the grammar.
    #[error("the request line is not `METHOD SP target SP HTTP/1.1 CRLF`")]
    BadRequestLine,
    /// A field name with a character, space or fold it must not have.
    #[error("a header line has a bad name, a space before its colon, or continues the line before")]
    BadHeaderName,
    /// A control character in a field value.
    #[error("a header value holds a control character")]
    BadHeaderValue,
    /// A line that ends in LF alone, or a CR in a line.
    #[error("every line must end in CR LF, and neither may stand alone")]
    BadLineEnd,
    /// A target in no form that is understood.
    #[error("the request target must be a path, or an http URL with a host, in URI characters")]
    BadTarget,
    /// No `Host`, two of them, or one that names no host.
    #[error("HTTP/1.1 requires exactly one valid Host header")]
    BadHost,
    /// A length that is no plain number, or several.
    #[error("Content-Length must be given once, in decimal digits")]
    BadContentLength,
    /// Both ways to say where the body ends, or one that does not say it.
    #[error(
        "the end of the body is ambiguous: Transfer-Encoding must be `chunked`, once, on HTTP/1.1, and \
         without Content-Length"
    )]
    AmbiguousBody,
    /// Broken chunked coding.
    #[error("the chunked body is malformed, or its extensions or trailers are too long")]
    BadChunk,
    /// A coding other than chunked.
    #[error("the only transfer coding understood is `chunked`")]
    UnknownCoding,
    /// An expectation other than 100-continue.
    #[error("the only expectation understood is `100-continue`")]
    UnknownExpectation,
    /// A version of another major number than 1.
    #[error("this server speaks HTTP/1.1 and HTTP/1.0")]
    UnknownVersion,
    /// The header section passed its limit.
    #[error("the header section is too large, or has more than {MAX_HEADERS} fields")]
    HeadersTooLarge,
    /// The target passed its limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The body passed its limit.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The request was not complete in time.
    #[error("the request was not complete in time")]
    Timeout,
}

impl Reject {
    /// The status that tells the client.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::UnknownCoding => Status::NotImplemented,
            Self::UnknownExpectation => Status::ExpectationFailed,
            Self::UnknownVersion => Status::VersionNotSupported,
            Self::HeadersTooLarge => Status::HeadersTooLarge,
            Self::TargetTooLong => Status::UriTooLong,
            Self::BodyTooLarge => Status::ContentTooLarge,
            Self::Timeout => Status::RequestTimeout,
            Self::BadRequestLine
            | Self::BadHeaderName
            | Self::BadHeaderValue
            | Self::BadLineEnd
            | Self::BadTarget
            | Self::BadHost
            | Self::BadContentLength
            | Self::AmbiguousBody
            | Self::BadChunk => Status::BadRequest,
        }
    }
}
