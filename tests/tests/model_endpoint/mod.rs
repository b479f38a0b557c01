//! A model's endpoint that always gives the same answer, and a project that it helps.

use anyhow::Result;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// A check with the message of a type checker, which no fixer answers.
pub const SCRIPT: &str = "if grep -q bad src/a.py; then\n\
    echo 'src/a.py:1: error: Incompatible types in assignment (expression has type \"str\", variable has type \"int\")  [assignment]'\n\
    echo 'Found 1 error in 1 file (checked 1 source file)'\nexit 1\nfi\n";
/// What it checks.
pub const SOURCE: &str = "size: int = 'bad'\n";
/// What mends it.
const ANSWER: &str = "A number has to be one.\n\nsrc/a.py\n<<<<<<< SEARCH\nsize: int = 'bad'\n=======\n\
                      size: int = 7\n>>>>>>> REPLACE\n";

/// The endpoint; it ends with the process of the test.
pub struct Model {
    url: String,
}

impl Model {
    /// Starts it on a free port of loopback.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream).expect("a call of the auto-fixer");
            }
        });
        Ok(Self { url })
    }

    /// The variables of a process that asks it.
    pub fn vars(&self) -> Vec<(&str, &str)> {
        vec![
            ("METABUILDER_LLM_BASE_URL", &self.url),
            ("METABUILDER_LLM_MODEL", "a-model"),
            ("NO_PROXY", "127.0.0.1"),
        ]
    }
}

fn answer(stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let text = json!({
        "object": "chat.completion", "model": "a-model",
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": ANSWER } }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(&stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len())?;
    Ok(())
}
