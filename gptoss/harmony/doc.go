// Package harmony is OpenAI's harmony response format, the chat format that
// GPT-OSS was trained on.
//
// A conversation is a sequence of messages, each a header and a text between
// special tokens:
//
//	<|start|>system<|message|>You are ChatGPT, ...<|end|>
//	<|start|>user<|message|>What is 2 + 2?<|end|>
//	<|start|>assistant<|channel|>analysis<|message|>Simple arithmetic.<|end|>
//	<|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>
//
// (the line breaks are not part of it). The header names the role; a tool's
// name stands in place of its role; " to=NAME" is the recipient, which makes an
// assistant's message a tool call; <|channel|> tells thoughts (analysis), calls
// and announcements (commentary) and answers (final) apart; the last word is
// the content type.
//
// An [Encoding] renders a [Conversation] to token ids and, with a [Parser],
// reads what a model writes, token by token. Text is always encoded without
// special tokens, so that no text forges a message, and header fields that
// would are errors. The parser never fails: a quantized model that drifts from
// the format still yields messages, and [Parser.Repaired] counts the
// departures.
//
// The ids are those of OpenAI's own library, to the bit, on its fixtures.
//
// Source: openai/harmony 0.0.8, docs/format.md, src/encoding.rs, src/chat.rs.
package harmony
