// Package hub fetches models from the Hugging Face Hub, or a mirror of it, over HTTPS.
//
// # Protocol
//
//	GET /api/models/{repo}/revision/{revision}           -> {"sha": commit}
//	GET /api/models/{repo}/tree/{commit}?recursive=1     -> [{path, size, oid, lfs: {oid}}], further pages by the Link header
//	GET /{repo}/resolve/{commit}/{path}, Range           -> the bytes, or a redirect to where they are
//
// A revision is resolved to a commit once, and everything after it names the commit. The token goes to the endpoint's
// own origin and nowhere else: it is added below the redirects, not above.
//
// # Download
//
// Files are cut into ranges, and one pool of workers fetches ranges of all files. A range that fails goes on from the
// byte where it was cut, after a wait that doubles and that is at least what Retry-After asks for. A connection that
// brings next to nothing for a while counts as cut. A server that ignores Range is read from the beginning in one
// stream.
//
// The bytes of a file go to .<name>.download beside their destination, and what is finished to .<name>.ranges: a header
// that says which file this is, then one line a range with its SHA-256 and a checksum of the line. A range is recorded
// after its bytes were flushed to disk, so what is recorded survives a kill and a power cut alike, and what is not
// recorded is fetched again.
//
// # Check
//
// A file with all its ranges is read once, for the hash that the Hub lists (SHA-256, or git's SHA-1 for small files)
// and for those of its ranges. Where the Hub's hash is wrong, the ranges that are no longer what was received (the disk
// changed them) are fetched again, and only these. Where there are none the bytes were wrong when they came: ranges are
// fetched again in place until one turns out to be another than before; then the file is read again. If no range
// changes, the server does not have what it lists, and that is the error. A file gets its name when its hash is right.
//
// # Where it goes
//
// Into the cache that other tools share, models--org--name/{blobs,refs,snapshots}: blobs by hash, then a snapshot of
// links, then the ref; so a revision that can be looked up is complete. Or into a plain directory, config.json last.
//
// Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache, https://huggingface.co/docs/hub/api.
package hub
