package units

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Key names a unit: the SHA-256 of everything that decides its content.
type Key [sha256.Size]byte

// NewKey returns the key of a result of the given kind, made from parts.
//
//	SHA-256 of the JSON array [kind, parts...]
//
// The kind carries a version ("fit/1"), so that a change of the algorithm
// changes the key. Parts are values that encoding/json writes in one way: hashes
// as strings, structs, numbers, and the keys of other units, so that a key is
// known before what it stands on is made.
//
// Errors: it panics on parts that JSON cannot hold, which is the programmer's
// error; numbers that come from outside are checked to be finite before.
func NewKey(kind string, parts ...any) Key {
	data, err := json.Marshal(append([]any{kind}, parts...))
	if err != nil {
		panic(fmt.Sprintf("units: key of kind %q: %v", kind, err))
	}
	return sha256.Sum256(data)
}

// String returns the key in hexadecimal, which is the name of its file.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// MarshalText makes a Key a part of other keys.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
