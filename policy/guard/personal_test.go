package guard

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// hidden is a text as a model sees it with pii masked.
func hidden(t *testing.T, c *Chain, text string) string {
	t.Helper()
	body := append(wire.AppendString([]byte(`{"messages":[{"role":"user","content":`), text), `}]}`...)
	out, _, _, err := c.Request(body, wire.Chat)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	var got struct{ Messages []struct{ Content string } }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%q became %s: %v", text, out, err)
	}
	return got.Messages[0].Content
}

func chainOf(t testing.TB, cfgs ...Config) *Chain {
	t.Helper()
	c, err := New(cfgs)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPersonalData(t *testing.T) {
	c := chainOf(t, Config{Kind: "pii"})
	for _, tc := range personalCases {
		if got := hidden(t, c, tc.text); got != tc.want {
			t.Errorf("%q\n got %q\nwant %q", tc.text, got, tc.want)
		}
	}
	for _, text := range impersonal {
		if got := hidden(t, c, text); got != text {
			t.Errorf("%q is none, but became %q", text, got)
		}
	}
}

var pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\nx+/9AAo=\n-----END RSA PRIVATE KEY-----"

const jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

var personalCases = []struct{ text, want string }{
	{"Write to zhang.san+news@mail.example.co.uk.", "Write to <EMAIL_1>."},
	{"a@b.com, A@b.com and a@b.com", "<EMAIL_1>, <EMAIL_2> and <EMAIL_1>"},
	{"请联系wang_wei@163.com谢谢", "请联系<EMAIL_1>谢谢"},
	{"邮箱：12345678@qq.com。", "邮箱：<EMAIL_1>。"},
	{"13800138000@139.com", "<EMAIL_1>"},
	{"mailto:a@example.com?subject=x", "mailto:<EMAIL_1>?subject=x"},
	{"<john@example.com>", "<<EMAIL_1>>"},
	{"zhang＠example．com", "<EMAIL_1>"},
	{"zhang\u200b@exam\u200dple.com!", "<EMAIL_1>!"},
	{"u@例子.com u@xn--fsqu00a.xn--0zwm56d", "u@例子.com <EMAIL_1>"},
	{"a@example.com-李四", "<EMAIL_1>-李四"},

	{"电话13800138000", "电话<PHONE_1>"},
	{"手机：138 0013 8000，微信同号", "手机：<PHONE_1>，微信同号"},
	{"138-0013-8000", "<PHONE_1>"},
	{"tel13912345678", "tel<PHONE_1>"},
	{"１３８００１３８０００", "<PHONE_1>"},
	{"١٣٨٠٠١٣٨٠٠٠", "<PHONE_1>"},
	{"𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎", "<PHONE_1>"},
	{"138\u200b0013\u20608000", "<PHONE_1>"},
	{"138–0013–8000", "<PHONE_1>"},
	{"+8613800138000", "<PHONE_1>"},
	{"+86 138 0013 8000", "<PHONE_1>"},
	{"86-13800138000", "<PHONE_1>"},
	{"8613800138000", "<PHONE_1>"},
	{"008613800138000", "<PHONE_1>"},
	{"(+86) 138-0013-8000", "(<PHONE_1>"},
	{"座机010-88886666转801", "座机<PHONE_1>转801"},
	{"(0755) 8888 6666", "<PHONE_1>"},
	{"（０２１）６２３４５６７８", "<PHONE_1>"},
	{"0571-87654321，057187654321", "<PHONE_1>，<PHONE_2>"},
	{"+86 10 8888 6666", "<PHONE_1>"},
	{"+1 (415) 555-2671 or +14155552671", "<PHONE_1> or <PHONE_2>"},
	{"call +44 20 7946 0958 2 times", "call <PHONE_1> 2 times"},
	{"+44 (0)20 7946 0958", "<PHONE_1>"},
	{"+33 1 42 68 53 00", "<PHONE_1>"},
	{"+65 6123 4567", "<PHONE_1>"},
	{"+852 2345 6789", "<PHONE_1>"},
	{"415-555-2671, (415) 555-2671, 415.555.2671, 1-415-555-2671", "<PHONE_1>, <PHONE_2>, <PHONE_3>, <PHONE_4>"},

	{"身份证11010519491231002X。", "身份证<CN_ID_1>。"},
	{"身份证11010519491231002x", "身份证<CN_ID_1>"},
	{"440308199901101512", "<CN_ID_1>"},
	{"110105 19491231 002X", "<CN_ID_1>"},
	{"ID440308199901101512", "ID<CN_ID_1>"},
	{"４４０３０８１９９９０１１０１５１２", "<CN_ID_1>"},

	{"card 4111 1111 1111 1111 exp", "card <CARD_1> exp"},
	{"4111-1111-1111-1111", "<CARD_1>"},
	{"卡号6222021234567890128", "卡号<CARD_1>"},
	{"6212 2632 0200 0000 008", "6212 2632 0200 0000 008"},
	{"378282246310005 5555555555554444 6011111111111117", "<CARD_1> <CARD_2> <CARD_3>"},
	{"3782 822463 10005", "<CARD_1>"},
	{"3530111333300000", "<CARD_1>"},

	{"key sk-proj-abc123DEF456ghi789jkl0 ok", "key <SECRET_1> ok"},
	{"sk-ant-api03-Zm9vYmFyYmF6cXV4-1234567890abcdef", "<SECRET_1>"},
	{"AKIAIOSFODNN7EXAMPLE", "<SECRET_1>"},
	{"ghp_16C7e42F292c6912E7710c838347Ae178B4a", "<SECRET_1>"},
	{"jv-0123456789abcdefA", "<SECRET_1>"},
	{"Authorization: Bearer " + jwt, "Authorization: Bearer <SECRET_1>"},
	{"x " + pem + " y", "x <SECRET_1> y"},
	{"OPENAI_API_KEY=a8Fk29dLq0Zx7Vb3Nm5P", "OPENAI_API_KEY=<SECRET_1>"},
	{`{"api_key": "a8Fk29dLq0Zx7Vb3Nm5P"}`, `{"api_key": "<SECRET_1>"}`},
	{"api-key: 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "api-key: <SECRET_1>"},
	{"xoxb-123456789012-abcdefghij", "<SECRET_1>"},
}

var impersonal = []string{
	"", "a", "@", "a@b", "a@b.c", "logo@2x.png", "git@github.com:org/repo.git", "left-pad@1.3.0", "@app.route", "user@localhost",
	"In 2024, 1 2 3 4 5 6 7 8 9 10 11 12", "2023-01-15 10:30:00", "1388534400000", "1700000000", "12345678901", "3.14159265358979",
	"0.13800138000", "$13800138000", "10.0.0.255:8080", "550e8400-e29b-41d4-a716-446655440000", "ISBN 978-7-111-12345-6",
	"110105194912310021", "110105194913310025", "990105194912310029", "4111111111111112", "1234567890123456", "0000000000000000",
	"4111111111111111111111", "14012345678", "abc13800138000", "13800138000abc", "1380013800", "138001380000", "+123", "+0123456789",
	"sk-learn and sk-", "task-oriented-dialogue-systems-are-fun", "risk-averse", "sk-this-is-only-a-long-name-of-words", "AKIA", "ghp_short", "eyJ.eyJ.x",
	"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "api_key=", "api_key=YOUR_API_KEY_GOES_HERE", "token: aaaaaaaaaaaaaaaa1", "secret: nothing",
	"max_tokens=1234567890123456789", "一共13个", "第1380013号", "2021年3月15日", "100-200-300", "deadbeefdeadbeef13800138000cafe", "0x13800138000",
	"http://x.y/a_b", "α@β.γ", "1.380013.8000",
}

// No text of other people's questions, abstracts, encyclopedias and code is masked or refused that holds nothing personal.
func TestFalseMasks(t *testing.T) {
	dir := filepath.Join(cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "..", "shared")), "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no texts to measure with: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	c := chainOf(t, Config{Kind: "pii"})
	takeover := chainOf(t, Config{Kind: "injection"})
	total, bytes := map[string]int{}, 0
	texts := 0
	for _, f := range []struct {
		path   string
		fields []string
	}{
		{"semantic-pairs/qqp.jsonl", []string{"text_a", "text_b"}},
		{"semantic-pairs/bustm_dev.json", []string{"sentence1", "sentence2"}},
		{"semantic-pairs/bustm_train.json", []string{"sentence1", "sentence2"}},
		{"retrieval/cranfield/corpus.jsonl", []string{"title", "text"}},
		{"retrieval/cranfield/queries.jsonl", []string{"text"}},
		{"retrieval/cmrc2018-zh/corpus.jsonl", []string{"title", "text"}},
		{"retrieval/cmrc2018-zh/queries.jsonl", []string{"text"}},
		{"token-vectors/vectors.jsonl", []string{"text"}},
	} {
		file, err := os.Open(filepath.Join(dir, f.path))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var row map[string]any
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				t.Fatal(err)
			}
			for _, name := range f.fields {
				text, _ := row[name].(string)
				texts++
				bytes += len(text)
				if _, _, err := ask(t, takeover, text); err != nil {
					total["injection"]++
					t.Logf("%s: %.200q: %v", f.path, text, err)
				}
				if got := hidden(t, c, text); got != text {
					for _, p := range personalTypes {
						if n := strings.Count(got, "<"+p.label+"_"); n > 0 {
							total[p.name] += n
							t.Logf("%s: %s: %.200q", f.path, p.name, around(got, "<"+p.label+"_"))
						}
					}
				}
			}
		}
		file.Close()
	}
	t.Logf("%d texts, %d bytes; masked: %v", texts, bytes, total)
	// One address and two phones are real, and one text is the mark by which a chat template begins a system message.
	for name, most := range map[string]int{"email": 1, "phone": 2, "cn_id": 0, "card": 0, "secret": 0, "injection": 1} {
		if total[name] > most {
			t.Errorf("%s: %d found, of which at most %d are real", name, total[name], most)
		}
	}
}

func around(s, at string) string {
	i := strings.Index(s, at)
	return s[max(0, i-60):min(len(s), i+60)]
}
