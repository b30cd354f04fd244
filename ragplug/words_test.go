package ragplug

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func termsOf(text string) string {
	var r reader
	var list []string
	r.read(text, func(term []byte, of role) { list = append(list, string(term)+[]string{"", "'", "!"}[of]) })
	return strings.Join(list, " ")
}

// ' marks a character among others, ! one that stands alone.
func TestTerms(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"The carry-over of DAYS":            "carri day",
		"carrying carried carries carry":    "carri carri carri carri",
		"stopped, stopping, stops; stop":    "stop stop stop stop",
		"making makes made":                 "mak mak mad",
		"boxes churches classes dishes":     "box church class dish",
		"This bus is status; analysis":      "bus status analysis",
		"employee's don’t O'Neill 'quoted'": "employe oneill quot",
		"ＷｉＦｉ ﬁle Ⅳ":                        "wifi fil iv",
		"gpt-4o 3.14 snake_case":            "gpt 4o 3 14 snak cas",
		"Ünïcode ÉTÉ straße":                "ünïcode été straße",
		"年假":                                "年' 年假 假'",
		"年":                                 "年!",
		"第3章":                               "第! 3 章!",
		"用GPT写作":                            "用! gpt 写' 写作 作'",
		"有什么福利":                             "有' 有什 什' 么' 么福 福' 福利 利'",
		"カタカナ ー":                            "カ' カタ タ' タカ カ' カナ ナ' ー!",
		"ｶﾞ":                                "ガ!",
		"ภาษา":                              "ภ' ภา า' าษ ษ' ษา า'",
		strings.Repeat("x", 100):            strings.Repeat("x", longestTerm),
		"a-b":                               "b",
	} {
		if got := termsOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzTerms(f *testing.F) {
	for _, text := range []string{"The carry-over of days", "年假可以结转几天？", "ﬁ Ａ １ ㍿", "it's 'x' ’’", "\xff\xfe", "e\u0301\u0301", "İıſK"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r reader
		r.read(text, func(term []byte, of role) {
			if len(term) == 0 || len(term) > longestTerm+utf8.UTFMax || utf8.ValidString(text) && !utf8.Valid(term) {
				t.Fatalf("%q has the term %q", text, term)
			}
			if n := utf8.RuneCount(term); of != word && n != 1 {
				t.Fatalf("%q has the single %q", text, term)
			}
		})
		if !utf8.ValidString(text) {
			return // neither documents nor requests are that
		}
		if want := termsOf(text); termsOf(text+" . ") != want || termsOf(" "+text) != want {
			t.Fatalf("%q: other terms beside white space", text)
		}
	})
}
