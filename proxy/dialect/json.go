package dialect

import (
	"encoding/json"
	"strconv"
	"unsafe"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// JSON is written by appending: key and item add the comma when one is due, which the byte before tells, as no value ends
// with an opening bracket or a colon.

func comma(dst []byte) []byte {
	if n := len(dst); n > 0 {
		switch dst[n-1] {
		case '{', '[', ':', ' ', '\n':
			return dst
		}
		return append(dst, ',')
	}
	return dst
}

// key appends "name": and the comma before it. name needs no escapes.
func key(dst []byte, name string) []byte {
	dst = append(comma(dst), '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// field appends "name":"value".
func field(dst []byte, name, value string) []byte {
	return wire.AppendString(key(dst, name), value)
}

// rawField appends "name": and a JSON value.
func rawField(dst []byte, name, value string) []byte {
	return append(key(dst, name), value...)
}

func intField(dst []byte, name string, value int64) []byte {
	return strconv.AppendInt(key(dst, name), value, 10)
}

func floatField(dst []byte, name string, value float64) []byte {
	return strconv.AppendFloat(key(dst, name), value, 'g', -1, 64)
}

func boolField(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(key(dst, name), value)
}

// inner is a string literal without its quotes.
func inner(literal string) string { return literal[1 : len(literal)-1] }

// parse reads JSON without a copy.
func parse(data []byte) gjson.Result { return gjson.Parse(alias(data)) }

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// valid reports whether data is JSON. gjson's check is several times as fast as encoding/json's, but recurses without
// bound, so it gets only what cannot nest deep enough to matter.
func valid(data []byte) bool {
	if len(data) <= 64<<10 {
		return gjson.ValidBytes(data)
	}
	return json.Valid(data)
}
