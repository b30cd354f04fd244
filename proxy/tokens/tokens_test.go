package tokens_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/proxy/tokens"
)

// vector is a text with what the official tokenizer makes of it.
type vector struct {
	Kind   string
	Text   string
	O200k  int
	CL100k int
}

// official are texts made up at random of all scripts and classes of Unicode, long runs and what the patterns treat apart, with
// counts by npm's tiktoken 1.0.22, which is OpenAI's own code.
func official(t testing.TB) (all []vector) {
	lines(t, "testdata/official.jsonl", func(line []byte) {
		var v vector
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	})
	return all
}

// vectors are real texts of the shared data.
func vectors(t testing.TB) (all []vector) {
	lines(t, shared(t, "token-vectors/vectors.jsonl"), func(line []byte) {
		var v struct {
			Kind, Text    string
			O200k, CL100k []int
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, vector{v.Kind, v.Text, len(v.O200k), len(v.CL100k)})
	})
	return all
}

func shared(t testing.TB, name string) string {
	root := os.Getenv("JARVIS_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	path := filepath.Join(root, "data", name)
	if _, err := os.Stat(path); err != nil {
		t.Skip("no shared data here (JARVIS_SHARED names the folder that holds data/)")
	}
	return path
}

func lines(t testing.TB, file string, each func(line []byte)) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		each(in.Bytes())
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestCountAgreesWithTheOfficialTokenizer(t *testing.T) {
	agrees(t, official(t), 350)
}

func TestCountAgreesWithTheSharedVectors(t *testing.T) {
	agrees(t, vectors(t), 290)
}

func agrees(t *testing.T, all []vector, atLeast int) {
	if len(all) < atLeast {
		t.Fatalf("%d vectors only", len(all))
	}
	old := tokens.For("gpt-4")
	for _, v := range all {
		if got := tokens.Count(v.Text); got != v.O200k {
			t.Errorf("o200k: %d tokens, expected %d: %.60q", got, v.O200k, v.Text)
		}
		if got := old.Count(v.Text); got != v.CL100k {
			t.Errorf("cl100k: %d tokens, expected %d: %.60q", got, v.CL100k, v.Text)
		}
		if got := old.CountBytes([]byte(v.Text)); got != v.CL100k {
			t.Errorf("cl100k of bytes: %d tokens, expected %d: %.60q", got, v.CL100k, v.Text)
		}
	}
}

func TestFor(t *testing.T) {
	for model, want := range map[string]string{
		"gpt-4o":                              "o200k_base",
		"openai/gpt-4o-mini":                  "o200k_base",
		"ft:gpt-4o-mini-2024-07-18:acme::abc": "o200k_base",
		"prod-gpt-4o":                         "o200k_base",
		"GPT-4.1-nano":                        "o200k_base",
		"gpt-5.2-chat":                        "o200k_base",
		"chatgpt-4o-latest":                   "o200k_base",
		"o1":                                  "o200k_base",
		"o3-mini-2025-01-31":                  "o200k_base",
		"azure/prod-o4-mini":                  "o200k_base",
		"openai.gpt-oss-120b-1:0":             "o200k_base",
		"gpt-4":                               "cl100k_base",
		"gpt-4-turbo-2024-04-09":              "cl100k_base",
		"gpt-35-turbo":                        "cl100k_base",
		"gpt-3.5-turbo-instruct":              "cl100k_base",
		"text-embedding-3-large":              "cl100k_base",
		"text-embedding-ada-002":              "cl100k_base",
		"babbage-002":                         "cl100k_base",
		"us.anthropic.claude-sonnet-4-5-20250929-v1:0": "claude",
		"eu.amazon.nova-pro-v1:0":                      "other",
		"google/gemini-2.5-pro":                        "gemini",
		"meta.llama3-3-70b-instruct-v1:0":              "llama",
		"meta-llama/Llama-2-7b-chat-hf":                "32k",
		"deepseek-ai/DeepSeek-R1-Distill-Qwen-32B":     "qwen",
		"deepseek-chat":                                "deepseek",
		"mistral-small-latest":                         "mistral",
		"mixtral-8x7b-instruct":                        "32k",
		"phi-o1x":                                      "other",
		"":                                             "other",
		"openai/":                                      "other",
	} {
		got := tokens.For(model)
		if got.Name() != want || got.Exact() != strings.HasSuffix(want, "_base") {
			t.Errorf("%s: %s, exact %t, expected %s", model, got.Name(), got.Exact(), want)
		}
	}
}

func TestScaledCounts(t *testing.T) {
	const text = "Tokens of a model that publishes no vocabulary."
	n := tokens.Count(text)
	if got := tokens.For("claude-opus-4").Count(text); got <= n || got > n*3/2 {
		t.Errorf("%d tokens, of o200k %d", got, n)
	}
	if got := tokens.For("claude-opus-4").Scale(1000); got != 1200 {
		t.Errorf("1000 become %d", got)
	}
	if got := tokens.For("gpt-4o").Scale(1000); got != 1000 {
		t.Errorf("1000 become %d", got)
	}
}

// A run without a break is what a tokenizer that grows with the square takes minutes for.
func TestLongRuns(t *testing.T) {
	for name, text := range map[string]string{
		"one letter":  strings.Repeat("a", 1<<19),
		"two letters": strings.Repeat("ab", 1<<18),
		"Chinese":     strings.Repeat("数据系统网络服务请求计数词元模型语言", 1<<14),
		"Cyrillic":    strings.Repeat("языкмодель", 1<<14),
		"punctuation": strings.Repeat("=-", 1<<18),
		"blanks":      strings.Repeat(" ", 1<<19),
		"lines":       strings.Repeat(" \n", 1<<18),
		"digits":      strings.Repeat("7", 1<<19),
		"capitals":    strings.Repeat("中AAAA", 1<<16),
		"marks":       strings.Repeat("\u0301A", 1<<16),
		"apostrophes": strings.Repeat("'s", 1<<17),
		"bad UTF-8":   strings.Repeat("\xe4\xb8", 1<<16),
	} {
		small, large := tokens.Count(text[:len(text)/16]), tokens.Count(text)
		if large < small*15 || large > small*17+16 {
			t.Errorf("%s: %d tokens, of a sixteenth %d", name, large, small)
		}
	}
}

func TestCountAllocatesNothing(t *testing.T) {
	text := strings.Repeat("It is a truth universally acknowledged, that a single man in possession of a good fortune "+
		"must be in want of a wife; antidisestablishmentarianism notwithstanding. 中国经济发展。\n", 20)
	raw := []byte(`{"messages":[{"role":"user","content":"` + strings.ReplaceAll(text, "\n", `\n`) + `"}]}`)
	for name, count := range map[string]func(){
		"Count":        func() { tokens.Count(text) },
		"short":        func() { tokens.Estimate(raw[:200]) },
		"Estimate":     func() { tokens.Estimate(raw) },
		"EstimateJSON": func() { tokens.EstimateJSON(raw) },
		"For":          func() { tokens.For("us.anthropic.claude-sonnet-4") },
	} {
		if n := testing.AllocsPerRun(20, count); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
