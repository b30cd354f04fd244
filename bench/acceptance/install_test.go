package acceptance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// language is what runs client programs, and how their pinned packages are installed.
type language struct {
	name    string
	command string // what is looked for in PATH
	oldest  []int  // version that the packages run on
	folder  string // of the programs
	lock    string // the file in folder that pins all packages
	install func(l *language, dir string) error
	run     func(dir, file string) *exec.Cmd

	version string // of the command
	dir     string // of the installed packages
	err     error  // of prepare
}

var errMissing = errors.New("not on this machine")

func languages() map[string]*language {
	return map[string]*language{
		"Node": {
			name: "Node", command: "node", oldest: []int{20}, folder: "node", lock: "package-lock.json", install: npmCI,
			run: func(dir, file string) *exec.Cmd { return exec.Command("node", filepath.Join(dir, file)) },
		},
		"Python": {
			name: "Python", command: "python3", oldest: []int{3, 10}, folder: "python", lock: "requirements.txt", install: pipInstall,
			run: func(dir, file string) *exec.Cmd {
				return exec.Command(filepath.Join(dir, "bin", "python"), filepath.Join("python", file))
			},
		},
	}
}

// need skips or fails the test where the language is not there: CI must have it.
func (l *language) need(t *testing.T) {
	switch {
	case errors.Is(l.err, errMissing) && os.Getenv("CI") != "true":
		t.Skipf("%s clients: %v", l.name, l.err)
	case l.err != nil:
		t.Fatalf("%s clients: %v", l.name, l.err)
	}
}

// prepare installs the packages, into a folder that later runs with the same pins find again.
func (l *language) prepare() error {
	out, err := exec.Command(l.command, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s: %w", l.command, errMissing)
	}
	l.version = strings.TrimLeft(strings.TrimSpace(string(out)), "Pythonv ")
	if older(l.version, l.oldest) {
		return fmt.Errorf("%s %s is too old, %w", l.command, l.version, errMissing)
	}
	if l.dir, err = l.place(); err != nil {
		return err
	}
	if _, err := os.Stat(l.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.dir), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(l.dir), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := l.install(l, fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, l.dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err // another run may have been first
	}
	return nil
}

// place is where these packages belong for this version of the language.
func (l *language) place() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	pins, err := os.ReadFile(filepath.Join(l.folder, l.lock))
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(append(pins, l.version...))
	return filepath.Join(cache, "jarvis-gateway-acceptance", fmt.Sprintf("%s-%x", l.folder, key[:8])), nil
}

func older(version string, oldest []int) bool {
	parts := strings.Split(version, ".")
	for i, least := range oldest {
		n, err := strconv.Atoi(parts[min(i, len(parts)-1)])
		if err != nil || n < least {
			return true
		}
		if n > least {
			return false
		}
	}
	return false
}

func npmCI(l *language, dir string) error {
	for _, name := range []string{"package.json", l.lock, ".npmrc"} {
		raw, err := os.ReadFile(filepath.Join(l.folder, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return fmt.Errorf("npm: %w", errMissing)
	}
	return command(dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
}

func pipInstall(l *language, dir string) error {
	if err := command("", l.command, "-m", "venv", dir); err != nil {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	python := filepath.Join(dir, "bin", "python")
	return command(l.folder, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", l.lock)
}

func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
