package provider

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

// Every recorded stream of OpenAI and Azure gives the same bytes, usage and end, whether it comes at once, one byte a
// read, or with a read error right behind the last byte.
func TestRecordedStreamsByteByByte(t *testing.T) {
	shared := os.Getenv("JARVIS_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(shared); err != nil {
		t.Skipf("no recorded traffic: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	n := 0
	for dir, load := range map[string]func(string) ([]fakellm.Exchange, error){
		"openai-cassettes": fakellm.LoadCassettes, "openai-sse": fakellm.LoadSSE,
		"provider-fixtures/openai": fakellm.LoadFixtures, "provider-fixtures/azure": fakellm.LoadFixtures,
	} {
		all, err := load(filepath.Join(shared, "data", dir))
		if err != nil || len(all) == 0 {
			t.Fatalf("%s: %d recordings, %v", dir, len(all), err)
		}
		for _, ex := range all {
			if !ex.Stream {
				continue
			}
			kind := wire.Plain
			switch {
			case strings.HasSuffix(ex.Path, "/completions"):
				kind = wire.Chat
			case strings.HasSuffix(ex.Path, "/responses"):
				kind = wire.Response
			}
			whole := relayOf(bytes.NewReader(ex.Body), "Connection: close", kind).drain(4096)
			if !whole.opened {
				t.Logf("%s/%s begins with an error: %s", dir, ex.Name, whole.code)
			}
			for size, got := range map[int]passed{
				1:    relayOf(iotest.OneByteReader(bytes.NewReader(ex.Body)), "Connection: close", kind).drain(1),
				4096: relayOf(iotest.OneByteReader(bytes.NewReader(ex.Body)), "Connection: close", kind).drain(4096),
				97:   relayOf(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(ex.Body))), "Connection: close", kind).drain(97),
			} {
				if got != whole {
					t.Errorf("%s/%s, %d bytes a read: %.300s, want %.300s", dir, ex.Name, size, got, whole)
				}
			}
			if whole.code == "" && strings.TrimRight(whole.out, "\r\n") != strings.TrimRight(string(ex.Body), "\r\n") {
				t.Errorf("%s/%s does not come through as it is", dir, ex.Name)
			}
			if want := ex.Usage; whole.code == "" && want != (fakellm.Usage{}) && (whole.usage.Prompt != int64(want.Prompt) || whole.usage.Completion != int64(want.Completion)) {
				t.Errorf("%s/%s: usage %+v, want %+v", dir, ex.Name, whole.usage, want)
			}
			n++
		}
	}
	t.Logf("%d recorded streams came through byte by byte", n)
}
