package fakellm_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"jarvis-gateway/bench/fakellm"
)

func Example() {
	s, err := fakellm.Start(fakellm.Options{APIKey: "sk-upstream", LogBodies: true, Plan: func(seen *fakellm.Seen) fakellm.Plan {
		if seen.Seq == 1 {
			return fakellm.Plan{Fault: fakellm.Status429, RetryAfter: time.Second}
		}
		return fakellm.Plan{Tokens: 4}
	}})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	for range 2 {
		body := `{"model":"gpt-5-nano","messages":[{"role":"user","content":"hello"}]}`
		req, _ := http.NewRequest(http.MethodPost, s.URL()+"/v1/chat/completions", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer sk-upstream")
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	for _, seen := range s.WaitDone(2, 10*time.Second) {
		fmt.Println(seen.Status, seen.Model, seen.Billed.Total, seen.Violations)
	}
	// Output:
	// 429 gpt-5-nano 0 []
	// 200 gpt-5-nano 9 []
}
