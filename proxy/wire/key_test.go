package wire

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// In texts made of pieces of keys, a key is found where reading on from each place finds it.
func TestKeysAreFound(t *testing.T) {
	pieces := []string{`"usage"`, `"service_tier"`, `"finish_reason"`, `usage"`, `"usag`, `_`, `g`, `\"usage"`, `service_tier`, `:"x"`, `{`, strings.Repeat("some text ", 30)}
	dice := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 3000 {
		var b strings.Builder
		for range dice.IntN(40) {
			b.WriteString(pieces[dice.IntN(len(pieces))])
		}
		answer := []byte(b.String())
		for _, k := range []key{usageKey, tierKey, finishKey, stopKey} {
			first, last := -1, -1
			for i := range answer {
				if strings.HasPrefix(b.String()[i:], string(k.name)) && (i == 0 || answer[i-1] != '\\') {
					if last = i; first < 0 {
						first = i
						found++
					}
				}
			}
			if got := k.index(answer, 0); got != first {
				t.Fatalf("%s stands first at %d in %s, not at %d", k.name, first, answer, got)
			}
			if got := k.last(answer); got != last {
				t.Fatalf("%s stands last at %d in %s, not at %d", k.name, last, answer, got)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d keys stood somewhere", found)
	}
}

func BenchmarkStopReason(b *testing.B) {
	answer := []byte(`{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("the quick brown fox ", 45) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":40,"total_tokens":52}}`)
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		if StopReason(Chat, answer) != "stop" || FindTier(answer) != TierUnsaid || FindLastUsage(answer) == nil {
			b.Fatal("not found")
		}
	}
}
