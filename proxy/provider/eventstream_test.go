package provider

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func eventStreamVectors(t testing.TB, sign string) map[string][]byte {
	t.Helper()
	root := os.Getenv("JARVIS_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	files, _ := filepath.Glob(filepath.Join(root, "data/eventstream-vectors/encoded", sign, "*"))
	if len(files) == 0 {
		t.Skip("no vectors here")
	}
	all := map[string][]byte{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = raw
	}
	return all
}

func TestEventStreamVectors(t *testing.T) {
	for file, raw := range eventStreamVectors(t, "positive") {
		var want struct {
			Headers []struct {
				Name  string
				Type  byte
				Value json.RawMessage
			}
			Payload []byte
		}
		text, err := os.ReadFile(strings.Replace(file, "encoded", "decoded", 1))
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			if _, n, err := readFrame(raw[:i]); n != 0 || err != nil {
				t.Fatalf("%s: %d of %d bytes: n %d, %v", file, i, len(raw), n, err)
			}
		}
		f, n, err := readFrame(append(bytes.Clone(raw), "next"...))
		if err != nil || n != len(raw) || !bytes.Equal(f.payload, want.Payload) {
			t.Errorf("%s: n %d of %d, payload %q, %v", file, n, len(raw), f.payload, err)
		}
		rest := raw[preludeLen : preludeLen+binary.BigEndian.Uint32(raw[4:])]
		for _, h := range want.Headers {
			size := int(rest[0])
			name, kind := string(rest[1:1+size]), rest[1+size]
			value, after, ok := headerValue(kind, rest[2+size:])
			if !ok || name != h.Name || kind != h.Type {
				t.Fatalf("%s: %q of type %d (%t), expected %q of type %d", file, name, kind, ok, h.Name, h.Type)
			}
			if got := shownHeader(kind, value); got != string(h.Value) {
				t.Errorf("%s: %q is %s, expected %s", file, name, got, h.Value)
			}
			rest = after
		}
		if len(rest) > 0 {
			t.Errorf("%s: %d bytes behind the headers", file, len(rest))
		}
	}
}

// shownHeader writes a value as the decoded vectors do.
func shownHeader(kind byte, v []byte) string {
	switch kind {
	case 0, 1:
		return fmt.Sprint(kind == 0)
	case 2:
		return fmt.Sprint(int8(v[0]))
	case 3:
		return fmt.Sprint(int16(binary.BigEndian.Uint16(v)))
	case 4:
		return fmt.Sprint(int32(binary.BigEndian.Uint32(v)))
	case 5, 8:
		return fmt.Sprint(int64(binary.BigEndian.Uint64(v)))
	}
	return `"` + base64.StdEncoding.EncodeToString(v) + `"`
}

func TestEventStreamCorruptVectors(t *testing.T) {
	for file, raw := range eventStreamVectors(t, "negative") {
		want := "prelude's checksum"
		if name := filepath.Base(file); name == "corrupted_headers" || name == "corrupted_payload" {
			want = "message's checksum"
		}
		var err error
		for i := range len(raw) + 1 { // one byte more at a time: an error comes, and no frame
			var n int
			if _, n, err = readFrame(raw[:i]); n != 0 {
				t.Fatalf("%s: a frame of %d bytes", file, n)
			}
			if err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected an error of the %s", file, err, want)
		}
	}
}

// testHeader is a header of a frame that tests write: its name, type and the value with its length where it has one.
type testHeader struct {
	name  string
	kind  byte
	value string
}

func stringHeader(name, value string) testHeader {
	return testHeader{name, headerString, string(binary.BigEndian.AppendUint16(nil, uint16(len(value)))) + value}
}

// appendFrame writes a frame.
func appendFrame(dst []byte, payload string, headers ...testHeader) []byte {
	var head []byte
	for _, h := range headers {
		head = append(append(head, byte(len(h.name))), h.name...)
		head = append(append(head, h.kind), h.value...)
	}
	return sealFrame(dst, uint32(preludeLen+len(head)+len(payload)+tailLen), uint32(len(head)), string(head)+payload)
}

// sealFrame adds checksums to whatever the caller says the lengths are.
func sealFrame(dst []byte, total, headers uint32, rest string) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, total)
	dst = binary.BigEndian.AppendUint32(dst, headers)
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	dst = append(dst, rest...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

func TestEventStreamHeaders(t *testing.T) {
	raw := appendFrame(nil, `{"message":"slow"}`,
		testHeader{"flag", 0, ""}, testHeader{"off", 1, ""}, testHeader{"b", 2, "x"}, testHeader{"s", 3, "xx"},
		testHeader{"i", 4, "xxxx"}, testHeader{"l", 5, "xxxxxxxx"}, testHeader{"raw", 6, "\x00\x02xx"},
		testHeader{"t", 8, "xxxxxxxx"}, testHeader{"u", 9, "xxxxxxxxxxxxxxxx"},
		stringHeader(":message-type", "exception"), stringHeader(":event-type", "e"),
		stringHeader(":exception-type", "throttlingException"), stringHeader(":error-code", "c"),
		stringHeader(":error-message", "m"), stringHeader(":content-type", "application/json"))
	f, n, err := readFrame(raw)
	if err != nil || n != len(raw) {
		t.Fatal(n, err)
	}
	got := fmt.Sprintf("%s %s %s %s %s %s %s", f.messageType, f.eventType, f.exceptionType, f.errorCode, f.errorMessage, f.contentType, f.payload)
	if want := `exception e throttlingException c m application/json {"message":"slow"}`; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
}

func TestEventStreamRefuses(t *testing.T) {
	for want, raw := range map[string][]byte{
		"cannot have 15 bytes":                  sealFrame(nil, 15, 0, ""),
		"a frame of 16908305 bytes is too":      sealFrame(nil, maxFrame+1, 0, "")[:preludeLen],
		"1 bytes of headers in a frame of 16":   sealFrame(nil, 16, 1, ""),
		"4294967295 bytes of headers in a":      sealFrame(nil, 16, 1<<32-1, ""),
		`header "x": a value of type 10`:        appendFrame(nil, "", testHeader{"x", 10, ""}),
		`header "y": a value of type 4`:         appendFrame(nil, "payload is no header", testHeader{"y", 4, "xxx"}),
		`header "z": a value of type 7`:         appendFrame(nil, "payload is no header", testHeader{"z", 7, "\x00\x02x"}),
		`header "v": a value of type 6`:         appendFrame(nil, "payload is no header", testHeader{"v", 6, "\x00"}),
		"name does not fit":                     sealFrame(nil, 16+3, 3, "\x02xx"),
		"a header's name":                       sealFrame(nil, 16+2, 2, "\x00\x00"),
		`":event-type" must be a string, not o`: appendFrame(nil, "", testHeader{":event-type", 0, ""}),
	} {
		if _, n, err := readFrame(raw); n != 0 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("n %d, %v, expected %s", n, err, want)
		}
	}
}

func TestEventStreamDoesNotAllocate(t *testing.T) {
	raw := appendFrame(nil, `{"delta":{"text":"a"}}`, stringHeader(":message-type", "event"), stringHeader(":event-type", "contentBlockDelta"))
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := readFrame(raw); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a frame", n)
	}
}

func FuzzEventStream(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, "{}", stringHeader(":event-type", "messageStart")), ""))
	f.Add(sealFrame(nil, 16+2, 2, "\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for range 2 { // as it is, and with right checksums, without which nothing else is looked at
			for rest := raw; len(rest) > 0; {
				frame, n, err := readFrame(rest)
				if n < 0 || n > len(rest) || err != nil && n != 0 {
					t.Fatalf("n %d of %d, %v", n, len(rest), err)
				}
				if n > 0 && len(frame.payload) > n-preludeLen-tailLen {
					t.Fatalf("a payload of %d bytes in a frame of %d", len(frame.payload), n)
				}
				if n == 0 {
					break
				}
				rest = rest[n:]
			}
			if len(raw) < 8 {
				return
			}
			raw = sealFrame(nil, uint32(16+len(raw)-4), binary.BigEndian.Uint32(raw)%1024, string(raw[4:]))
		}
	})
}
