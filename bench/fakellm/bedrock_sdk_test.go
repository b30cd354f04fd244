package fakellm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	runtime "github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/aws/smithy-go"
)

// These tests let AWS's own SDK judge: it signs requests, checks frames and reads the JSON.

func account() Credentials {
	return Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", SessionToken: "token+/="}
}

func sdk(t *testing.T, s *Server, c Credentials, change ...func(*bedrockruntime.Options)) *bedrockruntime.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("eu-west-3"), config.WithRetryMaxAttempts(1),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil), config.WithBaseEndpoint(s.URL()),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	if err != nil {
		t.Fatal(err)
	}
	return bedrockruntime.NewFromConfig(cfg, append([]func(*bedrockruntime.Options){altering(func(*http.Request) {})}, change...)...)
}

func asked(text string) []runtime.Message {
	return []runtime.Message{{Role: runtime.ConversationRoleUser, Content: []runtime.ContentBlock{&runtime.ContentBlockMemberText{Value: text}}}}
}

func TestSDKConverse(t *testing.T) {
	s := described(t, Options{AWS: account(), Default: Plan{Text: "Good & well.", Thinking: "hm", Tools: []Call{{Name: "look", Input: `{"at":[1,"x"]}`}}}})
	for _, id := range []string{"fake", "anthropic.claude-3-haiku-20240307-v1:0",
		"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"} {
		out, err := sdk(t, s, account()).Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: &id, Messages: asked("hi")})
		if err != nil {
			t.Fatal(id, err)
		}
		want(t, "stop", out.StopReason, runtime.StopReasonToolUse)
		content := out.Output.(*runtime.ConverseOutputMemberMessage).Value.Content
		thought := content[0].(*runtime.ContentBlockMemberReasoningContent).Value.(*runtime.ReasoningContentBlockMemberReasoningText).Value
		want(t, "thought", *thought.Text+*thought.Signature, "hm"+signed("hm"))
		want(t, "text", content[1].(*runtime.ContentBlockMemberText).Value, "Good & well.")
		call := content[2].(*runtime.ContentBlockMemberToolUse).Value
		input, err := call.Input.MarshalSmithyDocument()
		want(t, "input", string(input), `{"at":[1,"x"]}`)
		want(t, "input error", err, nil)
		want(t, "usage", *out.Usage.TotalTokens, *out.Usage.InputTokens+*out.Usage.OutputTokens)

		// What was said can be said back, with the result of the call.
		conversation := append(asked("hi"), out.Output.(*runtime.ConverseOutputMemberMessage).Value,
			runtime.Message{Role: runtime.ConversationRoleUser, Content: []runtime.ContentBlock{&runtime.ContentBlockMemberToolResult{Value: runtime.ToolResultBlock{
				ToolUseId: call.ToolUseId, Content: []runtime.ToolResultContentBlock{&runtime.ToolResultContentBlockMemberText{Value: "there"}}}}}})
		schema := document.NewLazyDocument(map[string]any{"type": "object"})
		_, err = sdk(t, s, account()).Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: &id, Messages: conversation,
			InferenceConfig: &runtime.InferenceConfiguration{MaxTokens: aws.Int32(3000)},
			ToolConfig: &runtime.ToolConfiguration{Tools: []runtime.Tool{&runtime.ToolMemberToolSpec{Value: runtime.ToolSpecification{
				Name: aws.String("look"), InputSchema: &runtime.ToolInputSchemaMemberJson{Value: schema}}}}}})
		if err != nil {
			t.Error(id, err)
		}
	}
	count, err := sdk(t, s, account()).CountTokens(t.Context(), &bedrockruntime.CountTokensInput{ModelId: aws.String("fake"),
		Input: &runtime.CountTokensInputMemberConverse{Value: runtime.ConverseTokensRequest{Messages: asked("12345678")}}})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "count", *count.InputTokens, 5)
	for _, seen := range s.Seen() {
		want(t, seen.Path, strings.Join(seen.Violations, ""), "")
	}
}

// streamed is what the SDK makes of a stream.
type streamed struct {
	events                           []string
	text, thought, signature, inputs string
	stop                             runtime.StopReason
	tokens                           int32
	err                              error
}

func converseStream(t *testing.T, s *Server, id string) (got streamed) {
	t.Helper()
	out, err := sdk(t, s, account()).ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: &id, Messages: asked("hi")})
	if err != nil {
		return streamed{err: err}
	}
	stream := out.GetStream()
	defer stream.Close()
	for ev := range stream.Events() {
		switch ev := ev.(type) {
		case *runtime.ConverseStreamOutputMemberMessageStart:
			got.events = append(got.events, string(ev.Value.Role))
		case *runtime.ConverseStreamOutputMemberContentBlockStart:
			got.events = append(got.events, *ev.Value.Start.(*runtime.ContentBlockStartMemberToolUse).Value.Name)
		case *runtime.ConverseStreamOutputMemberContentBlockDelta:
			got.delta(ev.Value.Delta)
		case *runtime.ConverseStreamOutputMemberContentBlockStop:
			got.events = append(got.events, "stop")
		case *runtime.ConverseStreamOutputMemberMessageStop:
			got.stop = ev.Value.StopReason
		case *runtime.ConverseStreamOutputMemberMetadata:
			got.tokens = *ev.Value.Usage.OutputTokens
		default:
			t.Errorf("unknown event %T", ev)
		}
	}
	got.err = stream.Err()
	return got
}

func (got *streamed) delta(d runtime.ContentBlockDelta) {
	switch d := d.(type) {
	case *runtime.ContentBlockDeltaMemberText:
		got.text += d.Value
	case *runtime.ContentBlockDeltaMemberToolUse:
		got.inputs += *d.Value.Input
	case *runtime.ContentBlockDeltaMemberReasoningContent:
		switch r := d.Value.(type) {
		case *runtime.ReasoningContentBlockDeltaMemberText:
			got.thought += r.Value
		case *runtime.ReasoningContentBlockDeltaMemberSignature:
			got.signature += r.Value
		}
	}
}

func TestSDKConverseStream(t *testing.T) {
	s := described(t, Options{AWS: account(), Default: Plan{Text: "Good – well.", Thinking: "so it is", Tools: []Call{{Name: "look", Input: `{"at":"x"}`}, {Name: "go"}}}})
	got := converseStream(t, s, "fake")
	want(t, "error", got.err, nil)
	want(t, "events", strings.Join(got.events, " "), "assistant stop stop look stop go stop")
	want(t, "text", got.text, "Good – well.")
	want(t, "thought", got.thought, "so it is")
	want(t, "signature", got.signature, signed("so it is"))
	want(t, "inputs", got.inputs, `{"at":"x"}{}`)
	want(t, "stop", got.stop, runtime.StopReasonToolUse)
	want(t, "tokens", int(got.tokens), s.WaitDone(1, patience)[0].Billed.Completion)

	for plan, check := range map[string]func(error) bool{
		"fault=error-mid&fault_as=429":   isA[*runtime.ThrottlingException],
		"fault=error-first&fault_as=424": isA[*runtime.ModelStreamErrorException],
		"fault=error-mid":                isA[*runtime.InternalServerException],
		"fault=error-mid&fault_as=503":   isA[*runtime.ServiceUnavailableException],
		"fault=bad-crc":                  func(err error) bool { return err != nil && strings.Contains(err.Error(), "checksum") },
		"fault=bad-prelude":              func(err error) bool { return err != nil && strings.Contains(err.Error(), "checksum") },
		"byte_at_a_time=true":            func(err error) bool { return err == nil },
	} {
		if got := converseStream(t, s, "fake?"+plan); !check(got.err) {
			t.Errorf("%s: %v", plan, got.err)
		}
	}
}

// TestSDKCut: the SDK takes a cut for the end, but it knows that the message did not stop.
func TestSDKCut(t *testing.T) {
	s := start(t, Options{Kind: Bedrock, AWS: account(), Default: Plan{Fault: CutMidStream, Text: "Good and well."}})
	got := converseStream(t, s, "fake")
	want(t, "text", got.text, "Good and")
	want(t, "stop", got.stop, "")
}

func isA[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func TestSDKReplay(t *testing.T) {
	s := start(t, Options{Kind: Bedrock, AWS: account()})
	for _, ex := range load(t, "provider-fixtures/amazon-bedrock", LoadFixtures) {
		// The SDK has no place for the start of a block that is no call, and a recording has one.
		if ex.Stream && !strings.Contains(ex.Name, "no-args") {
			s.SetPlan(func(*Seen) Plan { return Replay(ex) })
			got := converseStream(t, s, "fake")
			want(t, ex.Name, got.err, nil)
			want(t, ex.Name+" stop", got.stop != "", true)
		}
	}
}

func TestSDKErrors(t *testing.T) {
	s := described(t, Options{AWS: account()})
	ask := func(id string, c Credentials, change ...func(*bedrockruntime.Options)) error {
		_, err := sdk(t, s, c, change...).Converse(t.Context(), &bedrockruntime.ConverseInput{ModelId: &id, Messages: asked("hi")})
		return err
	}
	for status, check := range map[string]func(error) bool{
		"429": isA[*runtime.ThrottlingException], "400": isA[*runtime.ValidationException], "403": isA[*runtime.AccessDeniedException],
		"404": isA[*runtime.ResourceNotFoundException], "408": isA[*runtime.ModelTimeoutException], "424": isA[*runtime.ModelErrorException],
		"500": isA[*runtime.InternalServerException], "503": isA[*runtime.ServiceUnavailableException],
	} {
		if err := ask("fake?status="+status, account()); !check(err) {
			t.Errorf("%s: %v", status, err)
		}
	}
	code := func(err error) string {
		var e smithy.APIError
		if !errors.As(err, &e) {
			return ""
		}
		return e.ErrorCode()
	}
	wrong := func(change func(c *Credentials)) Credentials {
		c := account()
		change(&c)
		return c
	}
	want(t, "key", code(ask("fake", wrong(func(c *Credentials) { c.AccessKeyID = "AKIDOTHER" }))), "UnrecognizedClientException")
	want(t, "secret", code(ask("fake", wrong(func(c *Credentials) { c.SecretAccessKey = "no" }))), "InvalidSignatureException")
	want(t, "token", code(ask("fake", wrong(func(c *Credentials) { c.SessionToken = "no" }))), "UnrecognizedClientException")
	want(t, "changed on the way", code(ask("fake", account(), altering(func(r *http.Request) { r.URL.RawQuery = "a=b" }))), "InvalidSignatureException")
	want(t, "unsigned field", code(ask("fake", account(), altering(func(r *http.Request) { r.Header.Set("X-Amz-Target", "x") }))), "InvalidSignatureException")
	want(t, "anonymous", code(ask("fake", account(), altering(func(r *http.Request) { r.Header.Del("Authorization") }))), "MissingAuthenticationTokenException")

	late := start(t, Options{Kind: Bedrock, AWS: account(), Clock: func() time.Time { return time.Now().Add(6 * time.Minute) }})
	_, err := sdk(t, late, account()).Converse(context.Background(), &bedrockruntime.ConverseInput{ModelId: aws.String("fake"), Messages: asked("hi")})
	if code(err) != "InvalidSignatureException" || !strings.Contains(err.Error(), "Signature expired") {
		t.Errorf("an old signature: %v", err)
	}
}

// altering changes a request after it was signed.
func altering(change func(*http.Request)) func(*bedrockruntime.Options) {
	return func(o *bedrockruntime.Options) { o.HTTPClient = client(change) }
}

// client changes requests before it sends them. The SDK closes a request's body once it has the head of the answer, which may be
// before net/http is done with it and then costs the connection, so the body that is sent is a copy.
type client func(*http.Request)

func (c client) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	c(r)
	return http.DefaultClient.Do(r)
}
