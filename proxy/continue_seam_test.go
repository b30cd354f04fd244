package proxy

import (
	"strings"
	"testing"
)

func TestSeam(t *testing.T) {
	const said = "The keeper of the lighthouse writes down what the sea does"
	for name, row := range map[string]struct {
		said, next, want string
		exact            bool
	}{
		"nothing comes again":              {said, " at night.", " at night.", false},
		"the end does":                     {said, "writes down what the sea does at night.", " at night.", false},
		"all does":                         {said, said + " at night.", " at night.", false},
		"the very least":                   {said, "hat the sea does, and why.", ", and why.", false},
		"less than that":                   {said, "at the sea does, and why.", "at the sea does, and why.", false},
		"only the end":                     {said, "writes down what the sea does", "", false},
		"only its beginning":               {said, "writes down what", "writes down what", false},
		"the longest repetition counts":    {strings.Repeat("ho, ", 9), strings.Repeat("ho, ", 9) + "hey", "hey", false},
		"too little was said":              {"The sea", "The sea is blue.", "The sea is blue.", false},
		"Chinese":                          {"海边有十二座灯塔，每座都有守塔人，他们写", "十二座灯塔，每座都有守塔人，他们写书", "书", false},
		"white space that was not shown":   {"The sea. ", " It is blue.", "It is blue.", true},
		"more of it":                       {"The sea.\n", "\n\nIt is blue.", "\nIt is blue.", true},
		"less of it":                       {"The sea.\n\n", "\nIt is blue.", "It is blue.", true},
		"none of it":                       {"The sea. ", "It is blue.", "It is blue.", true},
		"nothing but it":                   {"The sea.\n\n", "\n", "", true},
		"words may repeat where it is not": {said, said, said, true},
	} {
		for step := 1; step <= 64; step *= 4 {
			s, got := newSeam([]byte(row.said), row.exact), ""
			for rest := row.next; rest != ""; {
				n := len(string([]rune(rest)[:min(step, len([]rune(rest)))]))
				got += s.add(rest[:n])
				rest = rest[n:]
			}
			if got += s.rest(); got != row.want {
				t.Errorf("%s, %d at a time: %q, want %q", name, step, got, row.want)
			}
		}
	}
}

// Only text that is told so far, and nothing else, can be gone on with.
func TestContinuedFit(t *testing.T) {
	delta := func(members string) string {
		return `data: {"id":"c","choices":[{"index":0,"delta":{` + members + `},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	}
	hello := delta(`"role":"assistant","content":"Hello","refusal":null,"tool_calls":[]`)
	for name, row := range map[string]struct {
		events string
		want   bool
	}{
		"text":                   {hello, true},
		"text after thoughts":    {delta(`"reasoning_content":"hm"`) + hello, true},
		"thoughts":               {delta(`"reasoning_content":"hm"`), false},
		"thoughts again":         {hello + delta(`"content":null,"reasoning":"hm"`), false},
		"white space":            {delta(`"content":" \n"`), false},
		"nothing":                {delta(`"role":"assistant","content":""`), false},
		"a comment, and usage":   {": ping\n\n" + hello + `data: {"choices":[],"usage":{"prompt_tokens":1}}` + "\n\n", true},
		"half an event":          {hello + "data: {", false},
		"a tool call":            {hello + delta(`"tool_calls":[{"index":0,"id":"x"}]`), false},
		"a function call":        {hello + delta(`"function_call":{"name":"f"}`), false},
		"a refusal":              {hello + delta(`"refusal":"no"`), false},
		"sound":                  {hello + delta(`"audio":{"id":"x"}`), false},
		"what nobody knows":      {hello + delta(`"unheard_of":1`), false},
		"parts in place of text": {delta(`"content":[{"type":"text","text":"Hello"}]`), false},
		"a second choice":        {hello + `data: {"choices":[{"index":1,"delta":{"content":"b"}}]}` + "\n\n", false},
		"log probabilities":      {`data: {"choices":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[]}}]}` + "\n\n", false},
		"as long as it may be":   {strings.Repeat(delta(`"content":"`+strings.Repeat("a", 1<<10)+`"`), 256), true},
		"too long":               {strings.Repeat(delta(`"content":"`+strings.Repeat("a", 1<<10)+`"`), 256) + hello, false},
	} {
		for _, step := range []int{1, 7, 4096} {
			c := &continued{}
			for rest := []byte(row.events); len(rest) > 0; {
				n := min(step, len(rest))
				c.watch(rest[:n])
				rest = rest[n:]
			}
			if c.fit() != row.want || c.over {
				t.Errorf("%s, %d at a time: fit %t, over %t", name, step, c.fit(), c.over)
			}
		}
	}
}
