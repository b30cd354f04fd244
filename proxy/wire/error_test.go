package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func TestErrorJSON(t *testing.T) {
	for want, e := range map[string]*Error{
		`{"error":{"message":"m \"q\"","type":"server_error","param":null,"code":"c"}}`:               Server(502, "c", `m "q"`, io.EOF),
		`{"error":{"message":"no 5","type":"invalid_request_error","param":"n","code":null}}`:         Invalid("n", "no %d", 5),
		`{"error":{"message":"of theirs","x":1}}`:                                                     {Message: "ours", Raw: []byte(`{"message":"of theirs","x":1}`)},
		`{"error":{"message":"slow","type":"rate_limit_error","param":null,"code":"upstream_limit"}}`: {Type: TypeRateLimit, Code: "upstream_limit", Message: "slow", Retry: time.Second},
	} {
		if got := string(e.AppendJSON(nil)); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	e := Server(502, "upstream_error", "It failed.", io.ErrUnexpectedEOF)
	if e.Error() != "502 upstream_error: It failed.: unexpected EOF" || e.Reason() != "upstream_error" {
		t.Error(e)
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got := Invalid("", "x").Reason(); got != TypeInvalid {
		t.Error(got)
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	secret := Secret("sk-visible")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", secret, "in", struct{ Key Secret }{secret})
	asJSON, err := json.Marshal(map[string]any{"a": secret, "b": &secret, "c": []Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]Secret{"a": secret})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %s %q %#v %+v %x %v", secret, secret, secret, secret, struct{ S Secret }{secret}, secret, &secret) +
		log.String() + string(asJSON) + string(asYAML) + fmt.Sprint(errors.New(secret.String()))
	for _, shown := range []string{"visible", fmt.Sprintf("%x", "visible")} {
		if strings.Contains(all, shown) {
			t.Error(all)
		}
	}
	if secret.Reveal() != "sk-visible" || Secret("").String() != "" {
		t.Error("a secret is not what it was")
	}
}
