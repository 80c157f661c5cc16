// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
)

// loaded returns the configuration that a command line gives.
func loaded(t *testing.T, args ...string) (cfg config, err error) {
	t.Helper()
	c := app()
	c.Action = func(_ context.Context, c *cli.Command) (err error) {
		cfg, err = load(c)
		return err
	}
	err = c.Run(t.Context(), append([]string{"containerd-molt-grpc"}, args...))
	return cfg, err
}

// file writes a config file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDefaultFile: the file in the documentation is what "config default" prints, and it says what holds without a file.
func TestDefaultFile(t *testing.T) {
	const path = "../../docs/config.toml"
	want, err := os.ReadFile(path)
	must(t, err)
	c := app()
	var got bytes.Buffer
	c.Writer = &got
	must(t, c.Run(t.Context(), []string{"containerd-molt-grpc", "config", "default"}))
	if got.String() != string(want) {
		t.Errorf("config default prints\n%s\nwhich is not %s", &got, path)
	}
	cfg, err := loaded(t, "--config", path)
	must(t, err)
	expectSame(t, cfg, defaultConfig())
}

// expectSame compares two configurations as they are written.
func expectSame(t *testing.T, got, want config) {
	t.Helper()
	var g, w bytes.Buffer
	must(t, got.write(&g))
	must(t, want.write(&w))
	if g.String() != w.String() {
		t.Errorf("got\n%s\nwant\n%s", &g, &w)
	}
}

// TestPrecedence: a flag goes before its environment variable, that before the file, that before the default.
func TestPrecedence(t *testing.T) {
	path := file(t, "root = '/file'\n[grpc]\naddress = '/file.sock'\n[log]\nlevel = 'warn'\n[retention]\npoints = 7\nage = '1h30m'\n")
	t.Setenv("MOLT_ROOT", "/environment")
	t.Setenv("MOLT_ADDRESS", "/environment.sock")
	t.Setenv("MOLT_CONTAINERD_ADDRESS", "")
	want := defaultConfig()
	want.Root = "/flag"
	want.GRPC.Address = "/environment.sock"
	want.Log.Level = "warn"
	want.Containerd.Address = ""
	want.Retention.Points, want.Retention.Age = 7, duration{90 * time.Minute}
	got, err := loaded(t, "--config", path, "--root", "/flag")
	must(t, err)
	expectSame(t, got, want)
	t.Run("dump", func(t *testing.T) {
		var out bytes.Buffer
		c := app()
		c.Writer = &out
		must(t, c.Run(t.Context(), []string{"containerd-molt-grpc", "--config", path, "--root", "/flag", "config", "dump"}))
		for _, name := range []string{"MOLT_ROOT", "MOLT_ADDRESS", "MOLT_CONTAINERD_ADDRESS"} {
			t.Setenv(name, "")
			must(t, os.Unsetenv(name))
		}
		again, err := loaded(t, "--config", file(t, out.String()))
		must(t, err)
		expectSame(t, again, want)
	})
	t.Run("config file from the environment", func(t *testing.T) {
		t.Setenv("MOLT_CONFIG", path)
		got, err := loaded(t)
		must(t, err)
		if got.Retention.Points != 7 {
			t.Errorf("the file was not read: %+v", got)
		}
	})
}

// TestEveryFlag: each setting that has a flag has an environment variable, and both reach it.
func TestEveryFlag(t *testing.T) {
	none := file(t, "")
	for _, f := range flags() {
		name := f.Names()[0]
		if name == "config" {
			continue
		}
		value := map[string]string{"log-level": "debug", "log-format": "json", "snapshotter": "other"}[name]
		if value == "" {
			value = "/" + name
		}
		t.Run(name, func(t *testing.T) {
			byFlag, err := loaded(t, "--config", none, "--"+name, value)
			must(t, err)
			if got := *byFlag.overrides()[name]; got != value {
				t.Errorf("the flag sets %q, not %q", got, value)
			}
			t.Setenv("MOLT_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), value)
			byEnvironment, err := loaded(t, "--config", none)
			must(t, err)
			expectSame(t, byEnvironment, byFlag)
		})
	}
}

// TestBadConfig: what cannot work is refused before anything is touched, and the error says what is wrong.
func TestBadConfig(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"unknown setting":         {"[retention]\npoints = 3\npints = 4\n", "pints"},
		"unknown section":         {"[retentoin]\npoints = 3\n", "retentoin"},
		"unknown at the top":      {"rooot = '/x'\n", "rooot"},
		"no TOML":                 {"root = \n", "config file"},
		"a number for a path":     {"root = 7\n", "root"},
		"a word for a number":     {"[retention]\npoints = 'three'\n", "points"},
		"no duration":             {"[retention]\nage = '3 fortnights'\n", "fortnights"},
		"a number for a duration": {"[retention]\nage = 3\n", "missing unit"},
		"later version":           {"version = 2\n", "version 2"},
		"no version":              {"version = 0\n", "version 0"},
		"relative root":           {"root = 'var'\n", "root"},
		"empty root":              {"root = ''\n", "root"},
		"relative socket":         {"[grpc]\naddress = 'a.sock'\n", "grpc.address"},
		"relative control socket": {"[control]\naddress = 'unix:///a.sock'\n", "control.address"},
		"one socket for both":     {"[grpc]\naddress = '/a.sock'\n[control]\naddress = '/a.sock'\n", "must differ"},
		"containerd's own socket": {"[grpc]\naddress = '/run/containerd/containerd.sock'\n", "must differ"},
		"and for control":         {"[control]\naddress = '/run/containerd/containerd.sock'\n", "must differ"},
		"log format":              {"[log]\nformat = 'xml'\n", "log.format"},
		"log level":               {"[log]\nlevel = 'loud'\n", "log.level"},
		"workers":                 {"[servicing]\nworkers = 0\n", "workers"},
		"grace":                   {"[servicing]\ngrace = '-1s'\n", "grace"},
		"rollback policy":         {"[rollback]\non_return = 'never'\n", "never"},
		"retention":               {"[retention]\npoints = -1\n", "retention"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loaded(t, "--config", file(t, c.text))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got error %v, want one that says %q", err, c.says)
			}
		})
	}
	t.Run("a file that was asked for and is not there", func(t *testing.T) {
		if _, err := loaded(t, "--config", filepath.Join(t.TempDir(), "none.toml")); err == nil {
			t.Error("it was not missed")
		}
	})
	t.Run("an argument too many", func(t *testing.T) {
		err := app().Run(t.Context(), []string{"containerd-molt-grpc", "--config", file(t, ""), "serve"})
		if err == nil || !strings.Contains(err.Error(), "serve") {
			t.Errorf("got %v", err)
		}
	})
}

// TestDefaultsOfLibrary: those who use the snapshotter as a library have the same defaults.
func TestDefaultsOfLibrary(t *testing.T) {
	c := defaultConfig()
	if c.Rollback.OnReturn != string(binding.CarryOver) || c.Retention.Points != snapshotter.DefaultPoints ||
		c.Retention.Age.Duration != snapshotter.DefaultAge || c.Servicing.Grace.Duration != snapshotter.DefaultGrace {
		t.Errorf("the defaults are %+v", c)
	}
}

// TestConfigNotText: what an error shows of a config file, which goes to the log, too, holds nothing that a terminal obeys, and not
// much of it.
func TestConfigNotText(t *testing.T) {
	for name, content := range map[string]string{
		"an escape":       "root = '/x'\nodd\x1b[2J = 1\n",
		"bytes":           "\x7fELF\x01\xff\xfe\x00\x1b]0;x\x07",
		"a C1 control":    "odd = '\u009b1m'\n",
		"a bidi override": "# fine\n\u202eodd\u2066 = 1\n",
		"unknown setting": "'odd\u202e' = 1\n",
		"in a key":        "[log]\n'\ufeffodd' = 1\n",
		"a long line":     "odd = " + strings.Repeat("x", 5000) + "\n",
		"too large":       strings.Repeat("# more\n", 1<<18),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loaded(t, "--config", file(t, content))
			if err == nil {
				t.Fatal("it was read")
			}
			for _, r := range err.Error() {
				if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
					t.Errorf("the error has %U: %q", r, err)
				}
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes: %.300q", len(err.Error()), err)
			}
		})
	}
}
