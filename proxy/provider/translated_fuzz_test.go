package provider

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// The answers of a provider are not trusted: whatever it sends, a client gets well-formed events of its own dialect or an
// error, the same however the bytes were cut on their way.

func FuzzChatAnswers(f *testing.F)     { fuzzAnswers(f, "openai", "openai-sse") }
func FuzzMessagesAnswers(f *testing.F) { fuzzAnswers(f, "anthropic", "") }
func FuzzConverseAnswers(f *testing.F) { fuzzAnswers(f, "bedrock", "") }

func fuzzAnswers(f *testing.F, provider, raw string) {
	for _, stream := range seeds(provider, raw) {
		if len(stream) < 8<<10 {
			f.Add(stream)
		}
	}
	f.Add([]byte("data: {}\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 64<<10 {
			return
		}
		if kinds[provider].frames {
			stream = sealed(stream)
		}
		for _, client := range []wire.Kind{wire.Chat, wire.Message, wire.Response} { // in one order: coverage is compared
			if provider != "openai" && kinds[provider].speaks(client) || provider == "openai" && client == wire.Chat {
				continue
			}
			whole := translatedOf(bytes.NewReader(stream), provider, client).drain(4096)
			if whole.opened {
				wellFormed(t, whole.out)
			}
			if bytewise := translatedOf(iotest.OneByteReader(bytes.NewReader(stream)), provider, client).drain(97); madeUp.ReplaceAllString(bytewise.out, "") != madeUp.ReplaceAllString(whole.out, "") || bytewise.usage != whole.usage || bytewise.code != whole.code {
				t.Errorf("for %d: whole %s\nbytewise %s", client, whole, bytewise)
			}
		}
	})
}

// madeUp are ids that a call gets here because the provider gave it none.
var madeUp = regexp.MustCompile(`call_[A-Z2-7]{26}`)

// seeds are recorded streams, where there are any, and a few written by hand.
func seeds(provider, raw string) map[string][]byte {
	shared := os.Getenv("JARVIS_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	all := map[string][]byte{"hand": []byte(role + hello + stopped + counted + done)}
	files, _ := filepath.Glob(filepath.Join(shared, "data", raw, "*.bin")) // without data the seeds are fewer
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && raw != "" {
			all[file] = b
		}
	}
	for name, stream := range fixtures(shared) {
		if strings.HasPrefix(name, provider+"/") {
			all[name] = stream
		}
	}
	return all
}

// sealed gives the frames in b right checksums, as far as there are frames, so that what is in them is looked at.
func sealed(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; len(b)-at >= preludeLen+tailLen; {
		total := int(binary.BigEndian.Uint32(b[at:]))
		if total < preludeLen+tailLen || total > len(b)-at {
			break
		}
		binary.BigEndian.PutUint32(b[at+8:], crc32.ChecksumIEEE(b[at:at+8]))
		binary.BigEndian.PutUint32(b[at+total-tailLen:], crc32.ChecksumIEEE(b[at:at+total-tailLen]))
		at += total
	}
	return b
}

// wellFormed checks that a stream consists of whole events whose data is JSON.
func wellFormed(t *testing.T, stream string) {
	t.Helper()
	if stream != "" && !strings.HasSuffix(stream, "\n\n") {
		t.Fatalf("an event is not whole: %q", stream)
	}
	for ev := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		data := wire.EventData([]byte(ev + "\n\n"))
		if data != nil && !wire.IsDone(data) && !gjson.ValidBytes(data) {
			t.Fatalf("not JSON: %q in %q", data, stream)
		}
		if strings.Count(ev, "\n") > 1 {
			t.Fatalf("an event of several lines: %q", ev)
		}
	}
}
