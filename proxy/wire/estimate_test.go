package wire

import (
	"strings"
	"testing"
)

func TestPromptTokens(t *testing.T) {
	picture := strings.Repeat("iVBORw0KGgo+/AAA", 200_000) // 3 MiB
	for name, row := range map[string]struct {
		body     string
		low, top int64
	}{
		"text":            {`{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 1000) + `"}]}`, 1250, 1300},
		"escapes":         {`{"messages":[{"role":"user","content":"` + strings.Repeat(`\"\\ `, 1000) + `"}]}`, 1250, 1300},
		"picture, URL":    {`{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + picture + `"}}]}]}`, 765, 800},
		"picture, source": {`{"messages":[{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + picture + `"}}]}]}`, 765, 810},
		"document":        {`{"messages":[{"content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"` + picture + `"}}]}]}`, 90_000, 110_000},
		"long word":       {`{"input":"` + strings.Repeat("a-b", 2000) + `"}`, 1500, 1510},
	} {
		b, err := Parse([]byte(row.body))
		if err != nil {
			t.Fatal(name, err)
		}
		if got := b.PromptTokens(); got < row.low || got > row.top {
			t.Errorf("%s: %d tokens, expected %d to %d", name, got, row.low, row.top)
		}
	}
}
