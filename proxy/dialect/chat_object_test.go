package dialect

import "testing"

// Some servers send a call's arguments as the object that they are, not as its text.
func TestArgumentsAsAnObject(t *testing.T) {
	const call = `{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments": {"a": "\"x\""}}}`
	whole, err := (&chatReader{}).Whole([]byte(`{"choices":[{"message":{"tool_calls":[` + call + `]},"finish_reason":"tool_calls"}]}`))
	if err != nil || len(whole.Blocks) != 1 || whole.Blocks[0].Input != `{"a": "\"x\""}` {
		t.Errorf("whole: %+v, %v", whole, err)
	}
	events, err := play(t, &chatReader{}, []recorded{{data: []byte(`{"id":"1","choices":[{"delta":{"tool_calls":[` + call + `]},"finish_reason":"tool_calls"}]}`)}})
	if err != nil {
		t.Fatal(err)
	}
	if a := gather(t, events); len(a.Blocks) != 1 || a.Blocks[0].Input != `{"a": "\"x\""}` {
		t.Errorf("streamed: %+v", a)
	}
}
