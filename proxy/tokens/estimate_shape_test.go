package tokens_test

import (
	"fmt"
	"strings"
	"testing"

	"jarvis-gateway/proxy/tokens"
)

// about10KB puts as many of what part makes between head and tail as there is room for.
func about10KB(head, separator, tail string, part func(i int) string) []byte {
	var b strings.Builder
	b.WriteString(head)
	for i := 0; b.Len() < 10_240-len(tail); i++ {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(part(i))
	}
	b.WriteString(tail)
	return []byte(b.String())
}

var said = []string{"Yes, please.", "What is next?", "The train to Lyon leaves at 9.", "好的，谢谢。", "I do not know.", "Tell me more about the second one, if you can."}

// shapes are bodies that are mostly structure.
func shapes() map[string][]byte {
	const ask = `{"model":"gpt-4o","messages":[{"role":"user","content":"What is the weather in Paris?"}],"tools":[`
	tool := func(i int) string {
		return fmt.Sprintf(`{"type":"function","function":{"name":"look_up_%d","description":"Looks up what is known of a place, by its name.",`+
			`"parameters":{"type":"object","properties":{"city":{"type":"string","description":"The name of the city"},"unit":{"type":"string",`+
			`"enum":["metric","imperial"]},"days":{"type":"integer","minimum":%d}},"required":["city","unit"]}}}`, i, i%7)
	}
	role := func(i int) string { return []string{"user", "assistant"}[i%2] }
	chat := func(part func(i int) string) []byte {
		return about10KB(`{"model":"gpt-4o","messages":[`, `,`, `],"stream":true}`, part)
	}
	return map[string][]byte{
		"tools": about10KB(ask, `,`, `]}`, tool),
		"tools, indented": about10KB(ask, ",\n    ", "\n]}", func(i int) string {
			return strings.NewReplacer(`,"`, ",\n      \"", `{"`, "{\n      \"").Replace(tool(i))
		}),
		"tiny messages": chat(func(int) string { return `{"role":"user","content":"one"}` }),
		"short messages": chat(func(i int) string {
			return fmt.Sprintf(`{"role":%q,"content":%q}`, role(i), said[i*7%len(said)])
		}),
		"messages": chat(func(i int) string {
			return fmt.Sprintf(`{"role":%q,"content":%q}`, role(i), strings.Repeat(said[i*7%len(said)]+" ", 2+i%3*3))
		}),
		"parts": chat(func(i int) string {
			return fmt.Sprintf(`{"role":%q,"content":[{"type":"text","text":%q}]}`, role(i), said[i*7%len(said)])
		}),
		"indented messages": chat(func(i int) string {
			return fmt.Sprintf("\n    {\n      \"role\": %q,\n      \"content\": %q\n    }", role(i), said[i*7%len(said)])
		}),
		"short and long": chat(func(i int) string {
			return fmt.Sprintf(`{"role":%q,"content":%q}`, role(i), strings.Repeat(said[i*7%len(said)]+" ", 1+i%2*12))
		}),
		"numbers": about10KB(`{"model":"text-embedding-3-small","input":[`, `,`, `]}`, func(i int) string { return fmt.Sprint(i*7919%1000 + 1) }),
		"rows of numbers": about10KB(`{"model":"text-embedding-3-small","input":[`, `,`, `]}`, func(i int) string {
			return fmt.Sprintf("[%d, %d, %d]", i*7919%1000, i, i*31%5000)
		}),
		"short inputs": about10KB(`{"model":"text-embedding-3-small","input":[`, `,`, `]}`, func(i int) string { return fmt.Sprintf("%q", said[i*7%len(said)]) }),
	}
}

func TestEstimateOfShapes(t *testing.T) {
	for name, body := range shapes() {
		want := tokens.CountRequest(body, "gpt-4o")
		got := tokens.EstimateJSON(body)
		t.Logf("%s: %d, counted %d", name, got, want)
		if off(got, want) > 0.20 {
			t.Errorf("%s: %d tokens, expected about %d", name, got, want)
		}
	}
}

// Where most of the elements of an array are passed, what differs from them is seen, and what is behind the array is read.
func TestEstimatePassesOnlyWhatIsAlike(t *testing.T) {
	const tiny = `{"role":"user","content":"What is the weather in Paris today?"},`
	large := `{"role":"user","content":"` + strings.Repeat("The results of the test are shown below. ", 500) + `"},`
	photo := `{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + long[:100_000] + `"}}]},`
	for name, body := range map[string]string{
		"a large one":        strings.Repeat(tiny, 400) + large + strings.Repeat(tiny, 400),
		"a large one at end": strings.Repeat(tiny, 400) + large,
		"large ones":         strings.Repeat(strings.Repeat(tiny, 100)+large, 5),
		"a picture":          strings.Repeat(tiny, 400) + photo + strings.Repeat(tiny, 400),
		"pictures":           strings.Repeat(strings.Repeat(tiny, 100)+photo, 5),
		"of all lengths":     strings.Repeat(strings.Repeat(tiny, 20)+strings.Replace(tiny, "today", strings.Repeat("today, or in Rome, or in Berlin, and ", 10), 1), 40),
	} {
		for _, behind := range []string{`]}`, `],"stream":true}`, ` ] , "tools":[{"type":"function","function":{"name":"look","description":"` + words + `"}}],"n":[1]}`} {
			raw := []byte(`{"model":"m","messages":[` + strings.TrimSuffix(body, ",") + behind)
			if got, want := tokens.EstimateJSON(raw), tokens.CountRequest(raw, "gpt-4o"); off(got, want) > 0.15 {
				t.Errorf("%s%.10s: %d tokens, expected about %d", name, behind, got, want)
			}
		}
	}
}

// A body that ends anywhere, or has what does not belong there, is read all the same, and its rest counts as text.
func TestEstimateOfBrokenShapes(t *testing.T) {
	for name, body := range shapes() {
		for at := 0; at < len(body); at += 211 {
			for _, with := range []string{"", `"`, `]`, `}`, `[[`, `\`} {
				cut := body[:at:at]
				spoilt := append(append(cut, with...), body[at:]...)
				if got := tokens.EstimateJSON(cut); got > len(cut) {
					t.Errorf("%s, %d bytes of it: %d tokens", name, at, got)
				}
				if got := tokens.EstimateJSON(spoilt); got > len(spoilt) || got == 0 {
					t.Errorf("%s, %s at %d: %d tokens", name, with, at, got)
				}
			}
		}
	}
}

func BenchmarkEstimateShapes10KB(b *testing.B) {
	for name, body := range shapes() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				tokens.EstimateJSON(body)
			}
		})
	}
}
