package harmony

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// object is a JSON object that remembers the order of its keys, which is the
// order in which the model sees the parameters of a function. Its methods
// accept a nil object, which has no keys.
type object struct {
	keys   []string
	values map[string]any
}

// of returns a value as an object, nil if it is not one.
func of(value any) *object {
	o, _ := value.(*object)
	return o
}

func (o *object) get(key string) (value any, ok bool) {
	if o == nil {
		return nil, false
	}
	value, ok = o.values[key]
	return value, ok
}

func (o *object) has(key string) bool {
	_, ok := o.get(key)
	return ok
}

func (o *object) text(key string) (string, bool) {
	value, _ := o.get(key)
	s, ok := value.(string)
	return s, ok
}

func (o *object) array(key string) ([]any, bool) {
	value, _ := o.get(key)
	a, ok := value.([]any)
	return a, ok
}

// maxJSONDepth is what the reference's parser allows.
const maxJSONDepth = 128

// parseJSON returns nil, a bool, json.Number, string, []any or *object.
func parseJSON(data []byte) (any, error) {
	if !json.Valid(data) {
		var ignored any
		if err := json.Unmarshal(data, &ignored); err != nil {
			return nil, err // says where
		}
		return nil, errors.New("not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return parseValue(dec, maxJSONDepth)
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth--; depth == 0 {
		return nil, fmt.Errorf("nested more than %d deep", maxJSONDepth-1)
	}
	if delim == '[' {
		array := []any{}
		for dec.More() {
			value, err := parseValue(dec, depth)
			if err != nil {
				return nil, err
			}
			array = append(array, value)
		}
		_, err := dec.Token() // ]
		return array, err
	}
	o := &object{values: map[string]any{}}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name := key.(string) // the input is valid
		value, err := parseValue(dec, depth)
		if err != nil {
			return nil, err
		}
		if !o.has(name) {
			o.keys = append(o.keys, name)
		}
		o.values[name] = value
	}
	_, err = dec.Token() // }
	return o, err
}

// compact returns a value as the reference prints it: without spaces, numbers
// as Rust writes them, and nothing escaped that JSON does not ask for.
func compact(value any) string {
	var b strings.Builder
	writeJSON(&b, value)
	return b.String()
}

func writeJSON(b *strings.Builder, value any) {
	switch v := value.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case json.Number:
		b.WriteString(number(v.String()))
	case string:
		writeString(b, v)
	case []any:
		for i, element := range v {
			b.WriteByte("[,"[min(i, 1)])
			writeJSON(b, element)
		}
		if len(v) == 0 {
			b.WriteByte('[')
		}
		b.WriteByte(']')
	case *object:
		for i, key := range v.keys {
			b.WriteByte("{,"[min(i, 1)])
			writeString(b, key)
			b.WriteByte(':')
			writeJSON(b, v.values[key])
		}
		if len(v.keys) == 0 {
			b.WriteByte('{')
		}
		b.WriteByte('}')
	}
}

func writeString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		if at := strings.IndexByte("\"\\\b\f\n\r\t", s[i]); at >= 0 {
			b.WriteByte('\\')
			b.WriteByte(`"\bfnrt`[at])
		} else if s[i] < ' ' {
			fmt.Fprintf(b, `\u%04x`, s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	b.WriteByte('"')
}

// number returns a number as serde_json prints what it read: integers of 64
// bits as they are, everything else as the shortest float64, with a ".0" or an
// exponent where Rust's ryu has one.
func number(literal string) string {
	if _, err := strconv.ParseInt(literal, 10, 64); err == nil && literal != "-0" {
		return literal
	}
	if _, err := strconv.ParseUint(literal, 10, 64); err == nil {
		return literal
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil { // beyond float64
		return literal
	}
	sign := ""
	if math.Signbit(f) {
		sign, f = "-", -f
	}
	if f == 0 {
		return sign + "0.0"
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	digits := strings.Replace(mantissa, ".", "", 1)
	e, _ := strconv.Atoi(exponent)
	point := e + 1 // digits before the decimal point
	switch {
	case len(digits) <= point && point <= 16:
		return sign + digits + strings.Repeat("0", point-len(digits)) + ".0"
	case 0 < point && point <= 16:
		return sign + digits[:point] + "." + digits[point:]
	case -5 < point && point <= 0:
		return sign + "0." + strings.Repeat("0", -point) + digits
	}
	return sign + mantissa + "e" + strconv.Itoa(e)
}
