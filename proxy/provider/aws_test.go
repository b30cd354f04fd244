package provider

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"

	"jarvis-gateway/proxy/wire"
)

// bareAWS takes all of AWS's settings out of the environment and gives a home without files.
func bareAWS(t *testing.T) (home string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("NO_PROXY", "127.0.0.1,localhost")
	return home
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// localAWS stands for all of AWS's services that give credentials. It notes what it is asked.
func localAWS(t *testing.T, life time.Duration) (base string, asked func() string) {
	var mu sync.Mutex
	var log strings.Builder
	until := time.Now().Add(life).UTC().Format(time.RFC3339)
	object := func(w io.Writer, token string) {
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":"AKIDLOCAL","SecretAccessKey":"localsecret",%q:"localtoken","Expiration":%q}`, token, until)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, _ := io.ReadAll(r.Body)
		mu.Lock()
		fmt.Fprintf(&log, "%s %s %s %s\n", r.Method, r.URL.Path, r.Header.Get("Authorization"), form)
		mu.Unlock()
		switch r.URL.Path {
		case "/container":
			object(w, "Token")
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
			io.WriteString(w, "session")
		case "/latest/meta-data/iam/security-credentials/":
			io.WriteString(w, "role")
		case "/latest/meta-data/iam/security-credentials/role":
			object(w, "Token")
		case "/federation/credentials":
			fmt.Fprintf(w, `{"roleCredentials":{"accessKeyId":"AKIDLOCAL","secretAccessKey":"localsecret","sessionToken":"localtoken","expiration":%d}}`, time.Now().Add(life).UnixMilli())
		case "/":
			asked, _ := url.ParseQuery(string(form))
			action := asked.Get("Action")
			fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>AKIDLOCAL</AccessKeyId>`+
				`<SecretAccessKey>localsecret</SecretAccessKey><SessionToken>localtoken</SessionToken><Expiration>%[2]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action, until)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

// Each source of credentials that AWS's own programs know.
func TestAWSChain(t *testing.T) {
	const static = "AKIDSTATIC static/secret token"
	const local = "AKIDLOCAL localsecret localtoken"
	for name, row := range map[string]struct {
		profile string
		set     func(t *testing.T, home, base string)
		want    string
		asked   string
	}{
		"environment": {"", func(t *testing.T, _, _ string) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIDSTATIC")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "static/secret")
			t.Setenv("AWS_SESSION_TOKEN", "token")
		}, static, ""},
		"credentials file": {"", func(t *testing.T, home, _ string) {
			write(t, filepath.Join(home, "credentials"), "[default]\naws_access_key_id=AKIDSTATIC\naws_secret_access_key=static/secret\naws_session_token=token\n")
		}, static, ""},
		"named profile, which wins over the environment": {"work", func(t *testing.T, home, _ string) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "other")
			write(t, filepath.Join(home, "config"), "[profile work]\naws_access_key_id=AKIDSTATIC\naws_secret_access_key=static/secret\naws_session_token=token\n")
		}, static, ""},
		"profile of the environment": {"", func(t *testing.T, home, _ string) {
			t.Setenv("AWS_PROFILE", "work")
			write(t, filepath.Join(home, "config"), "[profile work]\naws_access_key_id=AKIDSTATIC\naws_secret_access_key=static/secret\naws_session_token=token\n")
		}, static, ""},
		"credential process": {"work", func(t *testing.T, home, _ string) {
			write(t, filepath.Join(home, "answer"), `{"Version":1,"AccessKeyId":"AKIDSTATIC","SecretAccessKey":"static/secret","SessionToken":"token"}`)
			write(t, filepath.Join(home, "config"), "[profile work]\ncredential_process=cat "+filepath.Join(home, "answer")+"\n")
		}, static, ""},
		"assumed role": {"work", func(t *testing.T, home, base string) {
			t.Setenv("AWS_ENDPOINT_URL_STS", base)
			write(t, filepath.Join(home, "config"), "[profile work]\nrole_arn=arn:aws:iam::123456789012:role/r\nsource_profile=root\n"+
				"[profile root]\naws_access_key_id=AKIDSTATIC\naws_secret_access_key=static/secret\n")
		}, local, "Action=AssumeRole&"},
		"web identity": {"", func(t *testing.T, home, base string) {
			t.Setenv("AWS_ENDPOINT_URL_STS", base)
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(home, "jwt"))
			write(t, filepath.Join(home, "jwt"), "the.web.identity")
		}, local, "WebIdentityToken=the.web.identity"},
		"single sign-on": {"work", func(t *testing.T, home, base string) {
			t.Setenv("AWS_ENDPOINT_URL_SSO", base)
			write(t, filepath.Join(home, "config"), "[profile work]\nsso_session=s\nsso_account_id=123456789012\nsso_role_name=r\n"+
				"[sso-session s]\nsso_region=us-east-1\nsso_start_url=https://example.com/start\n")
			name := sha1.Sum([]byte("s"))
			write(t, filepath.Join(home, ".aws", "sso", "cache", hex.EncodeToString(name[:])+".json"),
				`{"accessToken":"signedin","expiresAt":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
		}, local, "GET /federation/credentials"},
		"container": {"", func(t *testing.T, _, base string) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", base+"/container")
			t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer container")
		}, local, "GET /container Bearer container"},
		"instance": {"", func(t *testing.T, _, base string) {
			t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", base)
		}, local, "PUT /latest/api/token"},
	} {
		t.Run(name, func(t *testing.T) {
			home := bareAWS(t)
			base, asked := localAWS(t, time.Hour)
			row.set(t, home, base)
			a := newAWSCredentials(awsChain(row.profile, "us-east-1"))
			defer a.Close()
			creds, err := a.get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := creds.AccessKeyID + " " + creds.SecretAccessKey + " " + creds.SessionToken; got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			if !strings.Contains(asked(), row.asked) {
				t.Errorf("the services were asked\n%s, want %s", asked(), row.asked)
			}
			h := a.held.Load()
			if row.want == local && (time.Until(h.until) > time.Hour || time.Until(h.until) < 59*time.Minute || time.Until(h.renew) > 55*time.Minute || time.Until(h.renew) < 53*time.Minute) {
				t.Errorf("until %v, renewed at %v", h.until, h.renew)
			}
			if row.want == static && !h.until.IsZero() {
				t.Errorf("until %v", h.until)
			}
		})
	}
}

// A changed file is seen when AWS refuses the credentials that it had before.
func TestRefusedCredentialsAreReadAgain(t *testing.T) {
	home := bareAWS(t)
	file := filepath.Join(home, "credentials")
	write(t, file, "[default]\naws_access_key_id=AKIDOLD\naws_secret_access_key=s\n")
	a := newAWSCredentials(awsChain("", "us-east-1"))
	defer a.Close()
	now := time.Now()
	a.now = func() time.Time { return now }
	keyOf := func() string {
		creds, err := a.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return creds.AccessKeyID
	}
	if keyOf() != "AKIDOLD" {
		t.Fatal(keyOf())
	}
	write(t, file, "[default]\naws_access_key_id=AKIDNEW\naws_secret_access_key=s\n")
	if a.refused(); keyOf() != "AKIDOLD" { // they are seconds old: the file cannot be the reason
		t.Error("read again at once")
	}
	now = now.Add(doubtAfter)
	if keyOf() != "AKIDOLD" {
		t.Error("read again unasked")
	}
	if a.refused(); keyOf() != "AKIDNEW" {
		t.Error("not read again")
	}
}

// With nothing to be found, or a metadata service that is dead, requests fail soon, and the next ones at once.
func TestNoCredentials(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for name, set := range map[string]func(t *testing.T){
		"nothing":             func(*testing.T) {},
		"no metadata service": func(t *testing.T) { t.Setenv("AWS_EC2_METADATA_DISABLED", "false") },
		"no container":        func(t *testing.T) { t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://"+dead.Addr().String()) },
		"forbidden container": func(t *testing.T) { t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/") },
		"no profile":          func(t *testing.T) { t.Setenv("AWS_PROFILE", "missing") },
	} {
		t.Run(name, func(t *testing.T) {
			bareAWS(t)
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+dead.Addr().String())
			set(t)
			a := newAWSCredentials(awsChain("", "us-east-1"))
			defer a.Close()
			_, first := a.get(t.Context())
			var e *wire.Error
			if !errors.As(first, &e) || e.Status != 502 || e.Code != "upstream_auth" || !e.Failover || e.Err == nil {
				t.Fatalf("%#v", first)
			}
			if shown := string(e.AppendJSON(nil)); !strings.Contains(e.Error(), "credentials: ") || strings.Contains(shown, "credentials: ") || strings.Contains(shown, "missing") {
				t.Error(shown, e)
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if _, again := a.get(gone); again != first {
				t.Errorf("then %v", again)
			}
		})
	}
}

// searches is a source of credentials in a bubble of synctest.
type searches struct {
	n    int
	took time.Duration
	life time.Duration
	err  error
	from string
}

func (s *searches) load(ctx context.Context) (aws.Credentials, error) {
	s.n++
	n := s.n
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	if s.err != nil {
		return aws.Credentials{}, s.err
	}
	return aws.Credentials{AccessKeyID: fmt.Sprint("key", n), SecretAccessKey: "s", Source: s.from, CanExpire: s.life > 0, Expires: time.Now().Add(s.life)}, nil
}

func (s *searches) bubble(t *testing.T, run func(t *testing.T, a *awsCredentials, key func() string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newAWSCredentials(s.load)
		defer a.Close()
		run(t, a, func() string {
			creds, err := a.get(t.Context())
			if err != nil {
				return err.(*wire.Error).Code
			}
			return creds.AccessKeyID
		})
	})
}

func TestFirstUseIsOneSearch(t *testing.T) {
	s := &searches{took: time.Second}
	s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if k := key(); k != "key1" {
					t.Error(k)
				}
			})
		}
		all.Wait()
		time.Sleep(1000 * time.Hour)
		if k := key(); k != "key1" || s.n != 1 {
			t.Errorf("%s of %d searches", k, s.n)
		}
	})
}

// A request that gives up does not end the search that others wait for.
func TestSearchOutlivesARequest(t *testing.T) {
	s := &searches{took: 2 * time.Second}
	s.bubble(t, func(t *testing.T, a *awsCredentials, key func() string) {
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.get(hasty); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if k := key(); k != "key1" || s.n != 1 {
			t.Errorf("%s of %d searches", k, s.n)
		}
	})
}

func TestRenewedAhead(t *testing.T) {
	s := &searches{took: 2 * time.Second, life: time.Hour}
	s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
		key()
		time.Sleep(53 * time.Minute)
		if key(); s.n != 1 {
			t.Error("renewed too early")
		}
		time.Sleep(2 * time.Minute)
		for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(time.Millisecond) {
			if at := time.Now(); key() != "key1" || time.Now() != at {
				t.Fatal("a request waited for the renewal")
			}
		}
		time.Sleep(2 * time.Second)
		if k := key(); k != "key2" || s.n != 2 {
			t.Errorf("%s of %d searches", k, s.n)
		}
	})
}

// While renewal fails, the old ones serve to their end, with a try every few seconds; then requests fail at once, until
// there are new ones.
func TestRenewalFails(t *testing.T) {
	s := &searches{took: time.Second, life: time.Hour}
	s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
		key()
		s.err = errors.New("dead")
		time.Sleep(55 * time.Minute)
		for range 299 {
			if k := key(); k != "key1" {
				t.Fatal(k)
			}
			time.Sleep(time.Second)
		}
		if s.n < 40 || s.n > 60 {
			t.Errorf("%d searches in five minutes", s.n)
		}
		time.Sleep(time.Second)
		for range 100 {
			if at := time.Now(); key() != "upstream_auth" || time.Now() != at {
				t.Fatal("not failed at once")
			}
			time.Sleep(time.Second)
		}
		s.err = nil
		time.Sleep(restAfterLoad)
		key()
		time.Sleep(2 * time.Second)
		if k := key(); !strings.HasPrefix(k, "key") {
			t.Error(k)
		}
	})
}

// An old failure is no answer: the next request waits for a new search.
func TestFailureIsForgotten(t *testing.T) {
	s := &searches{took: time.Second, err: errors.New("dead")}
	s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
		if k := key(); k != "upstream_auth" {
			t.Error(k)
		}
		s.err = nil
		time.Sleep(rememberFailure)
		if k := key(); k != "key2" {
			t.Error(k)
		}
	})
}

// A dead service stalls the first request until the search gives up, and no other.
func TestDeadServiceStallsOnce(t *testing.T) {
	s := &searches{took: time.Hour}
	s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
		begun := time.Now()
		if k := key(); k != "upstream_auth" || time.Since(begun) != loadTime {
			t.Errorf("%s after %v", k, time.Since(begun))
		}
		for range 20 {
			if at := time.Now(); key() != "upstream_auth" || time.Now() != at {
				t.Fatal("stalled again")
			}
			time.Sleep(time.Second)
		}
	})
}

// An instance's credentials are used beyond their end while the metadata service fails; others are not.
func TestInstanceCredentialsAreExtended(t *testing.T) {
	for source, want := range map[string]string{ec2rolecreds.ProviderName: "key1", "other": "upstream_auth"} {
		s := &searches{took: time.Second, life: time.Hour, from: source}
		s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
			key()
			s.err = errors.New("dead")
			time.Sleep(56 * time.Minute)
			key()
			time.Sleep(5 * time.Minute)
			if k := key(); k != want {
				t.Errorf("%s: %s", source, k)
			}
		})
	}
}

// Credentials that seem to be at their end already, by a wrong clock, are used for a while, not searched for without end.
func TestCredentialsAtTheirEnd(t *testing.T) {
	s := &searches{life: time.Nanosecond}
	s.bubble(t, func(t *testing.T, _ *awsCredentials, key func() string) {
		for range 100 {
			key()
			time.Sleep(100 * time.Millisecond)
		}
		if s.n < 2 || s.n > 4 {
			t.Errorf("%d searches in ten seconds", s.n)
		}
	})
}

func TestCloseEndsASearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &searches{took: time.Hour}
		a := newAWSCredentials(s.load)
		go func() {
			if _, err := a.get(context.Background()); err == nil {
				t.Error("credentials after the end")
			}
		}()
		synctest.Wait()
		at := time.Now()
		if a.Close(); time.Now() != at {
			t.Errorf("after %v", time.Since(at))
		}
	})
}

func TestAWSRegion(t *testing.T) {
	home := bareAWS(t)
	write(t, filepath.Join(home, "config"), "[default]\nregion=eu-west-1\n[profile work]\nregion=eu-west-2\n")
	region := func(profile string) string {
		r, err := awsRegion(profile)
		if err != nil {
			return err.Error()
		}
		return r
	}
	if r := region(""); r != "eu-west-1" {
		t.Error(r)
	}
	if r := region("work"); r != "eu-west-2" {
		t.Error(r)
	}
	if r := region("missing"); r != "profile: failed to get shared config profile, missing" {
		t.Error(r)
	}
	t.Setenv("AWS_DEFAULT_REGION", "eu-west-3")
	if r := region(""); r != "eu-west-3" {
		t.Error(r)
	}
	t.Setenv("AWS_REGION", "eu-north-1")
	if r := region("work"); r != "eu-north-1" {
		t.Error(r)
	}
}

func TestHideAWS(t *testing.T) {
	for in, want := range map[string][2]string{ // for the log, for clients
		"User: arn:aws:sts::123456789012:assumed-role/r/s is not authorized on arn:aws-cn:bedrock:*::x, or else": {"", "User: [hidden] is not authorized on [hidden], or else"},
		"account 123456789012, token 1234567890123":                                                              {"", "account [hidden], token 1234567890123"},
		`should have been 'POST\nx-amz-security-token:FwoG\//==\n\nhost`:                                         {`should have been 'POST\n[hidden]\n\nhost`, `should have been 'POST\n[hidden]\n\nhost`},
		"X-Amz-Security-Token: FwoG ends":                                                                        {"[hidden] ends", "[hidden] ends"},
		"key AKIAIOSFODNN7EXAMPLE of Asia":                                                                       {"key [hidden] of Asia", "key [hidden] of Asia"},
		"claude-sonnet-4-5-20250929-v1:0":                                                                        {"", "claude-sonnet-4-5-20250929-v1:0"},
	} {
		if got := string(hideTokens([]byte(in))); got != cmp.Or(want[0], in) {
			t.Errorf("log: %s: %s", in, got)
		}
		if got := string(hideAccount([]byte(in))); got != want[1] {
			t.Errorf("client: %s: %s", in, got)
		}
	}
}
