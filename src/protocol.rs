//! The protocol that a client speaks, read from its request.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request};

/// The protocol in which the client expects a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP with a problem document (RFC 9457).
    Http,
    /// HTTP without a body, because the request method is HEAD.
    Head,
    /// gRPC or gRPC-Web: the status is in the headers, and the body is empty.
    Grpc(GrpcMediaType),
}

/// The media type of a gRPC or gRPC-Web request.
///
/// A response has the media type of its request, because gRPC-Web clients reject any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GrpcMediaType {
    /// `application/grpc`, also for message formats that are not listed here.
    #[default]
    Grpc,
    /// `application/grpc+proto`
    GrpcProto,
    /// `application/grpc+json`
    GrpcJson,
    /// `application/grpc-web`, also for message formats that are not listed here.
    Web,
    /// `application/grpc-web+proto`
    WebProto,
    /// `application/grpc-web+json`
    WebJson,
    /// `application/grpc-web-text`, base64 over HTTP/1.1.
    WebText,
    /// `application/grpc-web-text+proto`
    WebTextProto,
}

crate::words::words! {
    GrpcMediaType: "gRPC media type" {
        Grpc => "application/grpc",
        GrpcProto => "application/grpc+proto",
        GrpcJson => "application/grpc+json",
        Web => "application/grpc-web",
        WebProto => "application/grpc-web+proto",
        WebJson => "application/grpc-web+json",
        WebText => "application/grpc-web-text",
        WebTextProto => "application/grpc-web-text+proto",
    }
}

// === impl Protocol ===

impl Protocol {
    /// gRPC with the media type `application/grpc`.
    pub const GRPC: Self = Self::Grpc(GrpcMediaType::Grpc);

    /// Reads the protocol from the content type and the method of a request.
    ///
    /// ```
    /// use http::Request;
    /// use portcullis::{GrpcMediaType, Protocol};
    ///
    /// let request = Request::post("/shop.Orders/Get").header("content-type", "application/grpc-web+proto");
    /// let protocol = Protocol::of(&request.body(()).unwrap());
    /// assert_eq!(protocol, Protocol::Grpc(GrpcMediaType::WebProto));
    /// ```
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::new(request.method(), request.headers())
    }

    pub(crate) fn new(method: &Method, headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE);
        match content_type.and_then(|value| GrpcMediaType::parse(value.as_bytes())) {
            Some(media_type) => Self::Grpc(media_type),
            None if method == Method::HEAD => Self::Head,
            None => Self::Http,
        }
    }
}

// === impl GrpcMediaType ===

impl GrpcMediaType {
    /// Reads a content type: upper case and parameters are allowed, as in any media type.
    fn parse(content_type: &[u8]) -> Option<Self> {
        const PREFIX: &[u8] = b"application/grpc";
        if !content_type
            .get(..PREFIX.len())?
            .eq_ignore_ascii_case(PREFIX)
        {
            return None;
        }
        let end = content_type.iter().position(|byte| b"; \t".contains(byte));
        let name = content_type.get(..end.unwrap_or(content_type.len()))?;
        let is = |media_type: &&Self| name.eq_ignore_ascii_case(media_type.as_str().as_bytes());
        if let Some(known) = Self::ALL.iter().find(is) {
            return Some(*known);
        }
        // Another message format.
        let plus = name.iter().position(|byte| *byte == b'+')?;
        Self::parse(name.get(..plus)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_chooses_the_media_type() {
        #[track_caller]
        fn check(content_type: &str, expected: Option<GrpcMediaType>) {
            let parsed = GrpcMediaType::parse(content_type.as_bytes());
            assert_eq!(parsed, expected, "{content_type}");
        }
        for media_type in GrpcMediaType::ALL {
            check(media_type.as_str(), Some(*media_type));
        }
        check("application/grpc;charset=utf-8", Some(GrpcMediaType::Grpc));
        check("application/grpc ; a=b", Some(GrpcMediaType::Grpc));
        check("Application/gRPC+Proto", Some(GrpcMediaType::GrpcProto));
        check("application/grpc+thrift", Some(GrpcMediaType::Grpc));
        check("application/grpc-web+thrift", Some(GrpcMediaType::Web));
        check(
            "application/grpc-web-text+x; a",
            Some(GrpcMediaType::WebText),
        );
        check(
            "application/grpc-web-text+x; a+b",
            Some(GrpcMediaType::WebText),
        );
        check("application/grpc+", Some(GrpcMediaType::Grpc));
        check("application/grpc-not-really", None);
        check("application/grpc-webby", None);
        check("application/grpcx", None);
        check("application/grpcx+proto", None);
        check("application/json", None);
        check("", None);
    }
}
