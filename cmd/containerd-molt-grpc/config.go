// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/host"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// defaultPath is where the config file is looked for; only there may it be missing.
const defaultPath = "/etc/containerd-molt-grpc/config.toml"

// configVersion is the version of the config file that this version of molt reads.
const configVersion = 1

// config is the config file.
type config struct {
	Version    int              `toml:"version" comment:"The version of this file's format."`
	Root       string           `toml:"root" comment:"Where layers and storages are kept: a local file system that overlayfs can write to."`
	GRPC       socketConfig     `toml:"grpc" comment:"The socket for containerd's proxy plugin."`
	Control    socketConfig     `toml:"control" comment:"The socket for moltctl."`
	Containerd containerdConfig `toml:"containerd" comment:"The containerd that is served; it is asked which storage a container wants, whether it runs, and for images."`
	Log        logConfig        `toml:"log"`
	Servicing  servicingConfig  `toml:"servicing"`
	Rollback   rollbackConfig   `toml:"rollback"`
	Retention  retentionConfig  `toml:"retention" comment:"How long the states that a storage can be rolled back to are kept."`
}

type socketConfig struct {
	Address string `toml:"address"`
}

type containerdConfig struct {
	Address     string `toml:"address" comment:"Empty: never ask; storages are then bound by the label given to Prepare only."`
	Snapshotter string `toml:"snapshotter" comment:"The name of the proxy plugin in containerd's configuration."`
	Unknown     string `toml:"unknown_labels" comment:"What happens to a container with a molt.dev/ label or annotation that molt does not know: refuse, or warn."`
}

type logConfig struct {
	Level  string `toml:"level" comment:"trace, debug, info, warn or error"`
	Format string `toml:"format" comment:"text or json"`
}

type servicingConfig struct {
	Workers       int            `toml:"workers" comment:"How many storages are serviced at once."`
	Grace         duration       `toml:"grace" comment:"How long a storage counts as in use after its mounts were handed out, unless containerd tells of its task before."`
	OnHold        string         `toml:"on_hold" comment:"What happens when a container asks for a base that its storage cannot be serviced for: refuse, or start-on-old-base."`
	Rebind        string         `toml:"rebind" comment:"Which containers have their storage moved to the image that they name: on-change (those that name another one than the container before), or spec (all whose storage stands elsewhere)."`
	NewContainers string         `toml:"new_containers" comment:"Where the storage of a new container begins whose base was updated: as-named (on the base that the container names) or newest (where the updates of that base lead)."`
	OnCommit      onCommitConfig `toml:"on_commit" comment:"What is done when a layer is committed that updates a base on which storages stand: ignore, notify (record it), stage (determine the side effects, too) or apply."`
	// What is told for all storages: policy, pins, exclude.
	servicing.Options
}

type onCommitConfig struct {
	Client  string   `toml:"client" comment:"A client says so, by the label containerd.io/snapshot/molt.update-of."`
	Image   string   `toml:"image" comment:"The image says so, by an annotation of its topmost layer: ignore or notify."`
	Trusted string   `toml:"trusted" comment:"The image says so, and containerd has a name for it that is from one of the sources."`
	Sources []string `toml:"sources" comment:"Repositories whose images are trusted, with their registry: registry.example/team/app, or registry.example/team/ for all below."`
	Written string   `toml:"written" comment:"The layer was not unpacked from an image, and stands right on that base."`
}

type rollbackConfig struct {
	OnReturn string `toml:"on_return" comment:"What happens when a container is created again on an older base of its storage: carry (roll back and carry over what was written since), exact (set it aside) or refuse."`
}

type retentionConfig struct {
	Points int      `toml:"points" comment:"How many states of each storage at most."`
	Age    duration `toml:"age" comment:"How long each; 0s is without limit."`
	Trash  duration `toml:"trash" comment:"How long the files of what was removed are kept before they are deleted."`
}

// duration is a time.Duration written as Go writes it. A number without a unit, which would be nanoseconds, is refused.
type duration struct{ time.Duration }

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { //nolint:unparam // the interface has an error
	return []byte(d.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(text))
	return err
}

func defaultConfig() config {
	return config{
		Version: configVersion,
		Root:    "/var/lib/containerd-molt-grpc",
		GRPC:    socketConfig{Address: "/run/containerd-molt-grpc/containerd-molt-grpc.sock"},
		Control: socketConfig{Address: "/run/containerd-molt-grpc/control.sock"},
		Containerd: containerdConfig{Address: "/run/containerd/containerd.sock", Snapshotter: "molt",
			Unknown: string(host.RefuseUnknown)},
		Log: logConfig{Level: "info", Format: "text"},
		Servicing: servicingConfig{
			Workers: 2, Grace: duration{snapshotter.DefaultGrace}, OnHold: string(binding.RefuseStart),
			Rebind:        string(binding.RebindOnChange),
			NewContainers: string(binding.BeginAsNamed), OnCommit: onCommitConfigOf(snapshotter.DefaultOnCommit()),
		},
		Rollback:  rollbackConfig{OnReturn: string(binding.CarryOver)},
		Retention: retentionConfig{Points: snapshotter.DefaultPoints, Age: duration{snapshotter.DefaultAge}},
	}
}

// overrides are the settings that flags and the environment can give, by the name of their flag.
func (c *config) overrides() map[string]*string {
	return map[string]*string{
		"root":               &c.Root,
		"address":            &c.GRPC.Address,
		"control-address":    &c.Control.Address,
		"containerd-address": &c.Containerd.Address,
		"snapshotter":        &c.Containerd.Snapshotter,
		"log-level":          &c.Log.Level,
		"log-format":         &c.Log.Format,
	}
}

func flags() []cli.Flag {
	setting := func(name, usage string) cli.Flag {
		env := "MOLT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		return &cli.StringFlag{Name: name, Usage: usage, Sources: cli.EnvVars(env)}
	}
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "config `FILE`", Value: defaultPath,
			Sources: cli.EnvVars("MOLT_CONFIG")},
		setting("root", "`DIRECTORY` of layers and storages"),
		setting("address", "`SOCKET` for containerd"),
		setting("control-address", "`SOCKET` for moltctl"),
		setting("containerd-address", "`SOCKET` of the containerd that is served; empty for none"),
		setting("snapshotter", "`NAME` of the proxy plugin in containerd's configuration"),
		setting("log-level", "trace, debug, info, warn or error"),
		setting("log-format", "text or json"),
	}
}

// load returns the configuration in force: defaults, the config file over them, the environment and flags over that.
func load(c *cli.Command) (config, error) {
	cfg := defaultConfig()
	path := c.String("config")
	if err := cfg.read(path); err != nil && (path != defaultPath || !errors.Is(err, fs.ErrNotExist)) {
		return cfg, fmt.Errorf("config file %s: %w", path, err)
	}
	for name, target := range cfg.overrides() {
		if c.IsSet(name) {
			*target = c.String(name)
		}
	}
	if err := cfg.check(); err != nil {
		return cfg, err
	}
	return cfg, nil
}

func (c *config) read(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := readText(f)
	if err != nil {
		return err
	}
	err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(c)
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return fmt.Errorf("unknown settings:\n%s", harmless(unknown.String()))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		key := harmless(strings.Join(bad.Key(), "."))
		return fmt.Errorf("setting %q: %s\n%s", key, harmless(bad.Error()), harmless(bad.String()))
	}
	return err
}

const (
	// maxConfig is how large a config file may be, in bytes.
	maxConfig = 1 << 20
	// maxLine is how much of a line of it an error shows, in characters.
	maxLine = 160
)

// readText reads a file that must be text: errors show lines of it, in the log, too.
func readText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("it has more than %d bytes, which no config file has", maxConfig)
	}
	line := 1
	for rest := text; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		rest = rest[n:]
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && n == 1, unicode.IsControl(r) && r != '\t' && r != '\r':
			return nil, fmt.Errorf("it is not a text file: line %d has a control character or is not UTF-8", line)
		}
	}
	return text, nil
}

// harmless returns lines of text, shortened, with every character escaped that a terminal may obey.
func harmless(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		var b strings.Builder
		count := 0
		for _, r := range line {
			if count++; count > maxLine {
				b.WriteString("...")
				break
			}
			if unicode.IsPrint(r) || r == '\t' {
				b.WriteRune(r)
				continue
			}
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		lines[i] = b.String()
	}
	return strings.Join(lines, "\n")
}

// check refuses a configuration that cannot work, before anything is touched.
func (c *config) check() error {
	if c.Version != configVersion {
		return fmt.Errorf("version %d of the config file is not known, this is for version %d", c.Version,
			configVersion)
	}
	for name, path := range map[string]string{"root": c.Root, "grpc.address": c.GRPC.Address,
		"control.address": c.Control.Address} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s must be an absolute path, not %q", name, path)
		}
	}
	sockets := []string{c.GRPC.Address, c.Control.Address, c.Containerd.Address}
	for i, socket := range sockets {
		if slices.Contains(sockets[:i], socket) {
			return fmt.Errorf("grpc.address, control.address and containerd.address must differ, two are %q", socket)
		}
	}
	if u := host.UnknownLabels(c.Containerd.Unknown); u != host.RefuseUnknown && u != host.WarnUnknown {
		return fmt.Errorf("containerd.unknown_labels must be %s or %s, not %q", host.RefuseUnknown, host.WarnUnknown, u)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format must be text or json, not %q", c.Log.Format)
	}
	if !slices.Contains(logLevels[:], c.Log.Level) {
		return fmt.Errorf("log.level must be one of %s, not %q", strings.Join(logLevels[:], ", "), c.Log.Level)
	}
	return snapshotter.Validate(c.options()...)
}

// logLevels are the levels that log.level can have.
var logLevels = [...]string{"trace", "debug", "info", "warn", "error"}

// options are what the snapshotter is told.
func (c *config) options() []snapshotter.Opt {
	return []snapshotter.Opt{
		snapshotter.WithRollbackPolicy(binding.RollbackPolicy(c.Rollback.OnReturn)),
		snapshotter.WithOnHold(binding.OnHold(c.Servicing.OnHold)),
		snapshotter.WithRebind(binding.Rebind(c.Servicing.Rebind)),
		snapshotter.WithOnCommit(c.Servicing.OnCommit.policy()),
		snapshotter.WithNewContainers(binding.NewContainers(c.Servicing.NewContainers)),
		snapshotter.WithWorkers(c.Servicing.Workers),
		snapshotter.WithGrace(c.Servicing.Grace.Duration),
		snapshotter.WithServicing(c.Servicing.Options),
		snapshotter.WithRetention(state.Retention{
			Points: c.Retention.Points, Age: c.Retention.Age.Duration, Trash: c.Retention.Trash.Duration,
		}),
	}
}

func onCommitConfigOf(p updates.CommitPolicy) onCommitConfig {
	return onCommitConfig{
		Client: string(p.Client), Image: string(p.Image), Trusted: string(p.Trusted),
		Sources: append([]string{}, p.Sources...), Written: string(p.Written),
	}
}

func (c onCommitConfig) policy() updates.CommitPolicy {
	return updates.CommitPolicy{
		Client: updates.OnCommit(c.Client), Image: updates.OnCommit(c.Image),
		Trusted: updates.OnCommit(c.Trusted), Sources: c.Sources, Written: updates.OnCommit(c.Written),
	}
}

func (c config) write(w io.Writer) error {
	return toml.NewEncoder(w).SetIndentTables(false).Encode(c)
}
