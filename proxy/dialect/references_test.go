package dialect

import (
	"errors"
	"testing"
)

func TestResolve(t *testing.T) {
	down := errors.New("down")
	find := func(response string) ([]byte, error) {
		switch response {
		case "resp_ab1":
			return []byte(`[{"id":"rs_ab1_0","type":"reasoning","encrypted_content":"x"},{"id":"fc_ab1_1","type":"function_call"}]`), nil
		case "resp_down":
			return nil, down
		}
		return nil, nil
	}
	for body, want := range map[string]string{
		`{"input":"item_reference"}`:                                     "",
		`{"input":[{"type":"item_reference","id":"rs_unknown_0"}]}`:      "",
		`{"input":[{"type":"item_reference","id":"rs_ab1_7"}]}`:          "",
		`{"input":[{"type":"item_reference","id":"odd"}]}`:               "",
		`{"input":[{"type":"item_reference"}],"a":"\"item_reference\""}`: "",
		`{"model":"m","input":[{"type":"item_reference","id":"rs_ab1_0"},{"role":"user","content":"x"},{"id":"fc_ab1_1","type":"item_reference"}],"n":1e2}`: `{"model":"m","n":1e2,"input":[{"id":"rs_ab1_0","type":"reasoning","encrypted_content":"x"},{"role":"user","content":"x"},{"id":"fc_ab1_1","type":"function_call"}]}`,
		`{"input":[{"type":"item_reference","id":"rs_none_0"},{"type":"item_reference","id":"rs_ab1_0"}]}`:                                                  `{"input":[{"type":"item_reference","id":"rs_none_0"},{"id":"rs_ab1_0","type":"reasoning","encrypted_content":"x"}]}`,
	} {
		if got, err := Resolve([]byte(body), 1<<20, find); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", body, got, err)
		}
	}
	if _, err := Resolve([]byte(`{"input":[{"type":"item_reference","id":"rs_down_0"}]}`), 1<<20, find); err != down {
		t.Errorf("the store's failure: %v", err)
	}
}

func TestUnsignedRequests(t *testing.T) {
	for body, want := range map[string]string{
		`{"messages":[{"role":"user","content":"x"}]}`:          "",
		`{"system":"\"jarvis-\"","messages":[{"content":"x"}]}`: "",
		`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"jarvis-unsigned"},{"type":"text","text":"a"}],"x":1},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"jarvis-unsigned"}]},{"role":"user","content":[{"type":"text","text":"b"}]}],"max_tokens":3}`: `{"max_tokens":3,"messages":[{"role":"assistant","content":[{"type":"text","text":"a"}],"x":1},{"role":"user","content":[{"type":"text","text":"b"}]}]}`,
		`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"theirs"},{"type":"text","text":"\"jarvis-"}]}]}`:                                                                                                                                                                                "",
	} {
		if want == "" {
			want = body
		}
		if got := Unsigned([]byte(body)); string(got) != want {
			t.Errorf("%s:\n%s", body, got)
		}
	}
}
