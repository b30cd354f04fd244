package acceptance

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const tenantKey = "jv-acceptance-0123456789abcdef0123456789"

// generated are the models whose answers the simulated providers make up, by the name that clients ask for.
var generated = map[string]string{
	"gpt": "openai", "gpt-4o-mini": "openai", "sonnet": "anthropic", "azure-gpt": "azure", "azure-v1-gpt": "azure-v1", "llama": "gpu",
	"embedder": "openai", "azure-embedder": "azure", "llama-embedder": "gpu",
	"tts": "openai", "whisper": "openai", "gpt-4o-transcribe": "openai", "gpt-image-1": "openai", "azure-whisper": "azure",
	"chat-llama": "gpu-chat", "claude-sonnet-4-5": "anthropic", "claude-opus-4-7": "anthropic", "lenient-claude-sonnet-4-5": "anthropic-lenient",
	"anthropic.claude-sonnet-4-5": "bedrock", "anthropic.claude-opus-4-7": "bedrock", "amazon.nova-pro": "bedrock",
	"lenient.claude-sonnet-4-5": "bedrock-lenient",
	// What OpenAI takes when a request names no model.
	"omni-moderation-latest": "openai", "dall-e-2": "openai",
}

// binary builds the real gateway. Looking through the module lets go test know what the result depends on: it would give
// an old one for new sources.
func binary(t *testing.T, dir string) string {
	_ = fs.WalkDir(os.DirFS(filepath.Join("..", "..")), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && len(path) > 1 && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return nil
	})
	path := filepath.Join(dir, "jarvis-gateway")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/jarvis-gateway")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// gateway is the real binary, serving.
type gateway struct {
	cmd    *exec.Cmd
	url    string
	stderr bytes.Buffer
}

var baseURL = regexp.MustCompile(`base URL +(\S+)`)

func startGateway(t *testing.T, binary string, u *upstreams) *gateway {
	dir := t.TempDir()
	path := filepath.Join(dir, "jarvis.yml")
	if err := os.WriteFile(path, []byte(config(u, dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{cmd: exec.Command(binary, "serve", path)}
	g.cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+awsAccount.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+awsAccount.SecretAccessKey,
		"AWS_SESSION_TOKEN="+awsAccount.SessionToken, "AWS_BEARER_TOKEN_BEDROCK=")
	g.cmd.Stderr = &g.stderr
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.cmd.Process.Kill() }) // for tests that fail before stop
	var welcome []byte
	for m := [][]byte(nil); m == nil; m = baseURL.FindSubmatch(welcome) {
		part := make([]byte, 4<<10)
		n, err := stdout.Read(part)
		welcome = append(welcome, part[:n]...)
		if err != nil {
			_ = g.cmd.Wait() // so that stderr is whole
			t.Fatalf("the gateway did not start: %s%s", welcome, g.stderr.Bytes())
		}
	}
	g.url = string(baseURL.FindSubmatch(welcome)[1])
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the process
	return g
}

// stop ends the gateway as an operator does, and reads its log.
func (g *gateway) stop(t *testing.T) {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	kill := time.AfterFunc(time.Minute, func() { _ = g.cmd.Process.Kill() })
	defer kill.Stop()
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
	for line := range strings.Lines(g.stderr.String()) {
		if strings.Contains(line, "BUG") || strings.Contains(line, "panic") || strings.Contains(line, "internal_error") {
			t.Errorf("the gateway logged %s", line)
		}
	}
}

// config maps every model that clients ask for to a provider, which knows it by another name. State goes into dir.
func config(u *upstreams, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\nstores: {state: %q}\nproviders:\n", "sqlite:"+filepath.Join(dir, "state.db"))
	for _, p := range []struct{ name, kind, server, path, more string }{
		{"openai", "openai", "openai", "/v1", "api_key: %s"},
		{"azure", "azure", "azure", "", "api_key: %s, api_version: 2024-10-21"},
		{"azure-v1", "azure", "azure-v1", "", "api_key: %s"},
		{"gpu", "vllm", "gpu", "", "api_key: %s"},
		{"gpu-chat", "vllm", "gpu", "", "api_key: %s, responses: chat"},
		{"anthropic", "anthropic", "anthropic", "", "api_key: %s"},
		{"anthropic-lenient", "anthropic", "anthropic", "", "api_key: %s, unsupported: drop"},
		{"bedrock", "bedrock", "bedrock", "", "region: us-east-1"},
		{"bedrock-lenient", "bedrock", "bedrock", "", "api_key: %s, region: us-east-1, unsupported: drop"},
	} {
		more := strings.ReplaceAll(p.more, "%s", u.keys[p.server])
		fmt.Fprintf(&b, "  %s: {kind: %s, base_url: %s%s, %s}\n", p.name, p.kind, u.servers[p.server].URL(), p.path, more)
	}
	b.WriteString("models:\n")
	entry := func(model, provider string) {
		fmt.Fprintf(&b, "  %q: {targets: [{provider: %s, model: %q}]}\n", model, provider, model+version)
	}
	for _, r := range u.recorded {
		entry(r.Model, r.provider)
	}
	for model, provider := range generated {
		entry(model, provider)
	}
	fmt.Fprintf(&b, "tenants:\n  acme: {keys: [{name: main, key: %s}]}\n", tenantKey)
	return b.String()
}
