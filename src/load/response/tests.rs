//! What the reader promises of any stream, however it is cut.

use proptest::prelude::*;

use super::*;

/// All answers of a stream that arrives in these pieces, and the error that ends it.
fn read_all<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Answer>, Option<ResponseError>) {
    let (mut reader, mut answers) = (ResponseReader::default(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            match reader.read(piece) {
                Ok(Read { consumed, answer }) => {
                    assert!(answer.is_some() || consumed == piece.len(), "nothing is left without an answer");
                    answers.extend(answer);
                    piece = &piece[consumed..];
                }
                Err(error) => return (answers, Some(error)),
            }
            assert!(reader.head.len() < MAX_HEAD_BYTES);
        }
    }
    (answers, None)
}

fn error_of(stream: &str) -> ResponseError {
    read_all([stream.as_bytes()]).1.unwrap_or_else(|| panic!("{stream:?} is read"))
}

const ALLOWED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRateLimit: \"p\";r=1;t=1\r\n\r\n{a:1}";
const DENIED: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length:0\r\nRetry-After: 1\r\n\r\n";
const BAD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\n{}";
const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n";
const SICK: &str = "HTTP/1.1 503 Sick\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nbad";

const fn answer(status: u16, closes: bool) -> Answer {
    Answer { status, closes }
}

#[test]
fn every_status_is_an_answer() {
    let stream = [ALLOWED, DENIED, INTERIM, SICK, BAD].concat();
    let expected = vec![answer(200, false), answer(429, false), answer(503, false), answer(400, true)];
    assert_eq!(read_all([stream.as_bytes()]), (expected, None));
}

#[test]
fn a_server_of_http_1_0_closes_unless_it_says_otherwise() {
    for (fields, closes) in [("", true), ("Connection: keep-alive\r\n", false)] {
        let stream = format!("HTTP/1.0 204 No\r\n{fields}\r\n");
        assert_eq!(read_all([stream.as_bytes()]).0, [answer(204, closes)]);
    }
}

#[test]
fn what_has_no_certain_end_is_refused_with_its_reason() {
    for (fields, error) in [
        ("Transfer-Encoding: chunked\r\n", ResponseError::Chunked),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", ResponseError::Chunked),
        ("", ResponseError::NoLength),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", ResponseError::BadLength),
        ("Content-Length: -1\r\n", ResponseError::BadLength),
        ("Content-Length: 1, 1\r\n", ResponseError::BadLength),
        ("Content-Length:\r\n", ResponseError::BadLength),
        ("Content-Length: 99999999999999999999\r\n", ResponseError::BadLength),
        ("Content-Length: 99999999999\r\n", ResponseError::BodyTooLong),
        ("no field\r\n", ResponseError::NotHttp(httparse::Error::HeaderName)),
    ] {
        assert_eq!(error_of(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), error, "{fields}");
    }
    assert_eq!(error_of("SSH-2.0-OpenSSH\r\n"), ResponseError::NotHttp(httparse::Error::Version));
    assert_eq!(error_of("HTTP/1.1 101 Switching\r\n\r\n"), ResponseError::Switches);
    assert!(error_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").to_string().contains("chunked"));
}

#[test]
fn a_head_without_an_end_is_given_up() {
    let stream = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD_BYTES));
    assert_eq!(error_of(&stream), ResponseError::HeadTooLong);
    let pieces = stream.as_bytes().chunks(1000);
    assert_eq!(read_all(pieces).1, Some(ResponseError::HeadTooLong));
}

/// Streams of answers, some with an error in them.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    const HEAD: &str = "HTTP/1.[01] [0-9]{3} [a-z ]{0,5}\r\n(Content-Length: [0-9]{1,2}\r\n){0,2}\r\n";
    let long_head = |fields| format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(fields * 60)).into_bytes();
    let part = prop_oneof![
        4 => prop::sample::select(vec![ALLOWED, DENIED, BAD, INTERIM, SICK]).prop_map(str::as_bytes)
            .prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..40),
        1 => HEAD.prop_map(String::into_bytes),
        1 => (0_usize..60).prop_map(long_head),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_cut_of_a_stream_gives_the_same_answers(
        stream in streams(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let whole = read_all([&stream[..]]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&whole, &read_all(pieces));
        if stream.len() < 500 {
            prop_assert_eq!(&whole, &read_all(stream.chunks(1)));
        }
    }

    #[test]
    fn hostile_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_all([&stream[..]]);
        read_all([b"HTTP/1.1 ", &stream[..]]);
        read_all([b"HTTP/1.1 200 OK\r\n", &stream[..]]);
    }
}
