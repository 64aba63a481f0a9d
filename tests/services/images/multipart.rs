//! Multipart bodies at their edges. Each host has a parser of its own, and
//! they are of one mind: one table for both.

use super::{UPLOAD, key_of, refused};
use crate::picture::png;
use crate::stage::Stage;
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Tokens: i7_multipart_is_read_alike_wherever_it_ends, i7_a_multipart_body_is_read_alike_in_pieces]
}

/// A body, and what becomes of it.
struct Case {
    what: &'static str,
    content_type: String,
    body: Vec<u8>,
    /// The status and the code of a refusal; `None` for an upload.
    refused: Option<(u16, &'static str)>,
}

const INVALID: Option<(u16, &str)> = Some((400, "INVALID_FILE"));
const NO_FILE: Option<(u16, &str)> = Some((400, "NO_FILE"));
const TOO_LARGE: Option<(u16, &str)> = Some((413, "FILE_TOO_LARGE"));
const FORBIDDEN: Option<(u16, &str)> = Some((403, "FORBIDDEN"));

/// The head of a part with the file, as browsers write it.
const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
                    Content-Type: image/png\r\n";

/// `IMAGE_BYTES_MAX` where it is not set.
const IMAGE_BYTES_MAX: usize = 5 * 1024 * 1024;

/// A part, cut off from what is before it by `b`.
fn part(head: &str, content: &[u8]) -> Vec<u8> {
    [b"--b\r\n", head.as_bytes(), b"\r\n", content, b"\r\n"].concat()
}

fn file_with(head: &str) -> Vec<u8> {
    [&part(head, &png())[..], END].concat()
}

const END: &[u8] = b"--b--\r\n";

fn cases() -> Vec<Case> {
    let typed = |what, content_type: &str, body: Vec<u8>, refused| Case {
        what,
        content_type: content_type.to_owned(),
        body,
        refused,
    };
    let case = |what, body, refused| typed(what, "multipart/form-data; boundary=b", body, refused);
    let file = file_with(FILE);
    let bounded = |boundary: &str| {
        let text = [b"--", boundary.as_bytes()].concat();
        let lines = [FILE.as_bytes(), b"\r\n", &png(), b"\r\n"].concat();
        [&text[..], b"\r\n", &lines, &text, b"--\r\n"].concat()
    };
    let long = "b".repeat(70);
    let too_long = "b".repeat(71);
    let mut all = vec![
        typed("no boundary", "multipart/form-data", file.clone(), INVALID),
        typed(
            "an empty boundary",
            "multipart/form-data; boundary=",
            file.clone(),
            INVALID,
        ),
        typed(
            "an empty boundary in quotes",
            "multipart/form-data; boundary=\"\"",
            file.clone(),
            INVALID,
        ),
        typed(
            "a boundary in quotes",
            "multipart/form-data; boundary=\"b\"",
            file.clone(),
            None,
        ),
        typed(
            "a boundary that needs its quotes",
            "multipart/form-data; boundary=\"b (1)/?:=\"",
            bounded("b (1)/?:="),
            None,
        ),
        typed(
            "a boundary before another parameter",
            "multipart/form-data; boundary=b; charset=utf-8",
            file.clone(),
            None,
        ),
        typed(
            "another's boundary",
            "multipart/form-data; xboundary=b",
            file.clone(),
            INVALID,
        ),
        typed(
            "names in capitals",
            "Multipart/Form-Data; Boundary=b",
            file.clone(),
            None,
        ),
        typed(
            "the longest boundary",
            &format!("multipart/form-data; boundary={long}"),
            bounded(&long),
            None,
        ),
        typed(
            "a boundary that is too long",
            &format!("multipart/form-data; boundary={too_long}"),
            bounded(&too_long),
            INVALID,
        ),
        typed(
            "a boundary that is not used",
            "multipart/form-data; boundary=c",
            file.clone(),
            INVALID,
        ),
        case("nothing", Vec::new(), INVALID),
        case("only an end", END.to_vec(), NO_FILE),
        case("no last boundary", part(FILE, &png()), INVALID),
        case(
            "no end of the last boundary",
            [&part(FILE, &png())[..], b"--b"].concat(),
            INVALID,
        ),
        case(
            "no end of line at its end",
            file[..file.len() - 2].to_vec(),
            None,
        ),
        case(
            "half a head",
            b"--b\r\nContent-Disposition: form-data; na".to_vec(),
            INVALID,
        ),
        case(
            "lines that end in LF",
            b"--b\nContent-Disposition: form-data; name=\"file\"\n\nx\n--b--\n".to_vec(),
            INVALID,
        ),
        case(
            "a preamble",
            [b"This is no part.\r\n", &file[..]].concat(),
            None,
        ),
        case(
            "an empty line before it",
            [b"\r\n", &file[..]].concat(),
            None,
        ),
        case(
            "a preamble of 200 kB",
            [&vec![b'-'; 200_000][..], b"\r\n", &file].concat(),
            None,
        ),
        case(
            "an epilogue",
            [&file[..], b"Nor is this.\r\n--b\r\n"].concat(),
            None,
        ),
        case(
            "spaces behind a boundary",
            [b"--b \t", &file[3..]].concat(),
            None,
        ),
        case(
            "an empty field",
            [
                &part("Content-Disposition: form-data; name=\"x\"\r\n", b"")[..],
                &file,
            ]
            .concat(),
            None,
        ),
        case(
            "a head of 8,000 bytes",
            file_with(&format!("{FILE}X: {}\r\n", "a".repeat(8_000))),
            None,
        ),
        case(
            "a head of more than 8 kB",
            file_with(&format!("{FILE}X: {}\r\n", "a".repeat(8_192))),
            INVALID,
        ),
        case(
            "a head of 300 kB",
            file_with(&format!("{FILE}X: {}\r\n", "a".repeat(300_000))),
            INVALID,
        ),
        case(
            "a head of 300 kB in another part",
            [
                &part(&format!("X: {}\r\n", "a".repeat(300_000)), b"")[..],
                &file,
            ]
            .concat(),
            INVALID,
        ),
        case(
            "a head of 32 lines",
            file_with(
                &(2..32)
                    .map(|it| format!("X-{it}: x\r\n"))
                    .fold(FILE.to_owned(), |all, it| all + &it),
            ),
            None,
        ),
        case(
            "a head of 33 lines",
            file_with(
                &(2..33)
                    .map(|it| format!("X-{it}: x\r\n"))
                    .fold(FILE.to_owned(), |all, it| all + &it),
            ),
            INVALID,
        ),
        case("no head", file_with(""), INVALID),
        case(
            "a head without a name",
            file_with("Content-Type: image/png\r\n"),
            NO_FILE,
        ),
        case(
            "a name without quotes",
            file_with("Content-Disposition: form-data; name=file; filename=a.png\r\n"),
            None,
        ),
        case(
            "the names in the other order",
            file_with("content-disposition: form-data; filename=\"a.png\"; name=\"file\"\r\n"),
            None,
        ),
        case(
            "a file whose name has what its field is called in it",
            file_with("Content-Disposition: form-data; filename=\"; name=file\"; name=\"x\"\r\n"),
            NO_FILE,
        ),
        case(
            "a file without a name",
            file_with("Content-Disposition: form-data; name=\"file\"\r\n"),
            None,
        ),
        case(
            "a field `file` of text",
            [
                &part("Content-Disposition: form-data; name=\"file\"\r\n", b"text")[..],
                END,
            ]
            .concat(),
            INVALID,
        ),
        case(
            "NUL in a name",
            file_with("Content-Disposition: form-data; name=\"file\"; filename=\"a\0b\"\r\n"),
            INVALID,
        ),
        case(
            "LF in a name",
            file_with(
                "Content-Disposition: form-data; name=\"file\"; filename=\"a\nX-Evil: 1\"\r\n",
            ),
            None,
        ),
        case(
            "a head with a name that is none",
            file_with(&format!("no header: x\r\n{FILE}")),
            INVALID,
        ),
        case(
            "two files",
            [&part(FILE, &png())[..], &part(FILE, b"no image"), END].concat(),
            None,
        ),
        case(
            "two files, the other first",
            [&part(FILE, b"no image")[..], &part(FILE, &png()), END].concat(),
            INVALID,
        ),
        case(
            "a workspace that is not the token's",
            [
                &part(
                    "Content-Disposition: form-data; name=\"instanceId\"\r\n",
                    b"x",
                )[..],
                &file,
            ]
            .concat(),
            FORBIDDEN,
        ),
        case(
            "a workspace that is not the token's, behind a file that is too large",
            [
                &part(FILE, &vec![b'a'; IMAGE_BYTES_MAX + 1])[..],
                &part(
                    "Content-Disposition: form-data; name=\"instanceId\"\r\n",
                    b"x",
                ),
                END,
            ]
            .concat(),
            TOO_LARGE,
        ),
        case(
            "another field that is as large as no file may be",
            [
                &part(
                    "Content-Disposition: form-data; name=\"x\"\r\n",
                    &vec![b'a'; IMAGE_BYTES_MAX + 1],
                )[..],
                &file,
            ]
            .concat(),
            TOO_LARGE,
        ),
        case(
            "more than may be beside a file",
            [
                &vec![b'-'; 70_000][..],
                b"\r\n",
                &part(FILE, &vec![b'a'; IMAGE_BYTES_MAX])[..],
                END,
            ]
            .concat(),
            TOO_LARGE,
        ),
        case("sixteen parts", parts(15), None),
        case("seventeen parts", parts(16), INVALID),
        case("ten thousand parts", parts(10_000), INVALID),
    ];
    // Its name is no UTF-8.
    let mut latin = file_with("Content-Disposition: form-data; name=\"file\"; filename=\"#\"\r\n");
    let at = latin.iter().position(|it| *it == b'#').expect("its name");
    latin[at] = 0xe9;
    all.push(case("a name that is no UTF-8", latin, INVALID));
    // The boundary, and something else on its line.
    let mut content = png();
    content.extend_from_slice(b"\r\n--bc\r\n\r\n");
    all.push(case(
        "a boundary that goes on",
        [&part(FILE, &content)[..], END].concat(),
        INVALID,
    ));
    let mut content = png();
    content.extend_from_slice(b"\r\n--c\r\n--\r\n-b\r\n- -b--\r\n--B--");
    all.push(case(
        "what is nearly a boundary",
        [&part(FILE, &content)[..], END].concat(),
        None,
    ));
    all
}

/// So many fields, and a file behind them.
fn parts(fields: usize) -> Vec<u8> {
    let field = part("Content-Disposition: form-data; name=\"x\"\r\n", b"");
    [&field.repeat(fields)[..], &file_with(FILE)].concat()
}

/// What came of them that should not have.
fn wrong(
    stage: &Stage,
    user: &crate::callers::User,
    case: &Case,
    pieces: Option<usize>,
) -> Option<String> {
    let ask = user
        .ask("POST", UPLOAD)
        .with("content-type", &case.content_type);
    let answer = match pieces {
        None => stage.send_with(&ask, case.body.clone()),
        Some(bytes) => {
            let mut exchange = stage.begin(&ask);
            // An answer may come before the end.
            let mut pieces = case.body.chunks(bytes);
            while pieces
                .next()
                .is_some_and(|piece| exchange.write(piece.to_vec()))
            {}
            exchange.finish();
            crate::stage::seen(exchange.answer())
        }
    };
    let code = match answer.status {
        200 => String::new(),
        _ => answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    let expected = case.refused.unwrap_or((200, ""));
    if (answer.status, &*code) == expected {
        match case.refused {
            Some((status, code)) => refused(&answer, status, code),
            None => drop(key_of(&answer)),
        }
        return None;
    }
    Some(format!(
        "{}: {} {code}, not {expected:?}",
        case.what, answer.status
    ))
}

fn all_wrong(stage: &Stage, user: &str, pieces: Option<usize>) -> Vec<String> {
    let user = stage.user(user);
    let cases = cases();
    // Byte by byte is for small ones.
    let cases = cases
        .iter()
        .filter(|case| pieces.is_none_or(|bytes| case.body.len() / bytes < 1_000));
    cases
        .filter_map(|case| wrong(stage, &user, case, pieces))
        .collect()
}

fn i7_multipart_is_read_alike_wherever_it_ends(stage: &Stage) {
    let wrong = all_wrong(stage, "multipart", None);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn i7_a_multipart_body_is_read_alike_in_pieces(stage: &Stage) {
    for bytes in [1, 70_000] {
        let wrong = all_wrong(stage, "multipart-pieces", Some(bytes));
        assert!(wrong.is_empty(), "in pieces of {bytes}: {wrong:#?}");
    }
    // A boundary that is not there is not looked for for ever.
    let user = stage.user("multipart-endless");
    let ask = user
        .ask("POST", UPLOAD)
        .with("content-type", "multipart/form-data; boundary=b");
    let mut exchange = stage.begin(&ask);
    let piece = vec![b'-'; 64 * 1024];
    let taken = (0..1_024)
        .take_while(|_| exchange.write(piece.clone()))
        .count();
    exchange.finish();
    let (answer, is_whole) = exchange.rest();
    if is_whole && !answer.is_of_broken_worker() {
        refused(&answer, 413, "FILE_TOO_LARGE");
    } else {
        assert!(
            taken < 1_024 || answer.is_of_broken_worker(),
            "a preamble without end is read"
        );
    }
}
