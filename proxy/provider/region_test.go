package provider

import (
	"strings"
	"testing"
)

// What is known of where requests are processed.
func TestRegion(t *testing.T) {
	for name, row := range map[string]struct {
		cfg  Config
		want string // or a part of the error
	}{
		"openai":            {Config{Kind: "openai"}, ""},
		"openai's host":     {Config{Kind: "openai", BaseURL: "https://eu.api.openai.com/v1"}, "eu"},
		"openai said":       {Config{Kind: "openai", BaseURL: "https://eu.api.openai.com/v1", Region: "us"}, "us"},
		"another host":      {Config{Kind: "openai", BaseURL: "https://eu.api.openai.com.example.org/v1"}, ""},
		"azure":             {Config{Kind: "azure", BaseURL: "https://example.openai.azure.com"}, ""},
		"azure said":        {Config{Kind: "azure", BaseURL: "https://example.openai.azure.com", Region: "eu"}, "eu"},
		"bedrock said":      {Config{Kind: "bedrock", Region: "eu-central-1", APIKey: "k"}, "eu-central-1"},
		"bedrock's host":    {Config{Kind: "bedrock", BaseURL: "https://bedrock-runtime.us-west-2.amazonaws.com", APIKey: "k"}, "us-west-2"},
		"bedrock elsewhere": {Config{Kind: "bedrock", BaseURL: "http://127.0.0.1:1", APIKey: "k"}, ""},
		"vllm":              {Config{Kind: "vllm", BaseURL: "http://127.0.0.1:1", Region: "eu"}, "region: only for kinds bedrock, openai and azure"},
		"no name":           {Config{Kind: "azure", BaseURL: "http://127.0.0.1:1", Region: "EU zone"}, `region: "EU zone" is not a region, such as eu`},
		"profile":           {Config{Kind: "openai", Profile: "x"}, "profile: profile and fetch_urls are only for kind bedrock"},
	} {
		t.Run(name, func(t *testing.T) {
			clients, err := New(map[string]Config{"p": row.cfg}, nil)
			if err != nil {
				if row.want == "" || !strings.Contains(err.Error(), row.want) {
					t.Error(err)
				}
				return
			}
			defer clients["p"].Close()
			if got := clients["p"].Region(); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
	if (*Client)(nil).Region() != "" {
		t.Error("a provider that is none has a region")
	}
}
