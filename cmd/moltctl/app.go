// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func app() *cli.Command {
	return strict(&cli.Command{
		Name:    "moltctl",
		Usage:   "look after the storages of containers, their updates and the layers they stand on",
		Version: version,
		// Completion scripts and suggestions are those of the library.
		EnableShellCompletion: true, Suggest: true,
		Description: `Exit codes: 0 done, 1 failed or aborted, 2 bad usage, 3 done but storages are held (or
would be), 4 not found, 5 refused as things stand, 6 the daemon cannot be reached, 7 no permission to use its
socket. Of several, the worst: 1 before 5, 4 and 3.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Aliases: []string{"a"}, Usage: "control `SOCKET` of the daemon",
				Value: "/run/containerd-molt-grpc/control.sock", Sources: cli.EnvVars("MOLT_CONTROL_ADDRESS")},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"},
				Usage: "containerd `NAMESPACE` in which images are looked up, and to which storage ls is limited",
				Value: "default", Sources: cli.EnvVars("CONTAINERD_NAMESPACE")},
			&cli.StringFlag{Name: "format", Usage: "table or json", Value: formatTable, Local: false},
		},
		Commands: []*cli.Command{storageCommand(), updateCommand(), layerCommand(), containerCommand(), graphCommand(),
			dfCommand(), checkCommand(), repairCommand(), backupCommand(), codesCommand(), versionCommand()},
		// Errors are told, and turned into exit codes, in one place.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
	})
}

// aliases are the names that other programs have for the commands of a name.
var aliases = map[string][]string{"ls": {"list"}, "inspect": {"show"}, "rm": {"remove"}}

// strict makes bad usage of a command, and of those below it, a usageError.
func strict(c *cli.Command) *cli.Command {
	if len(c.Aliases) == 0 {
		c.Aliases = aliases[c.Name]
	}
	c.OnUsageError = func(_ context.Context, c *cli.Command, err error, _ bool) error {
		if given, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
			return usagef("unknown flag %s%s; see %s --help", dashed(given),
				meant(given, cli.SuggestFlag(c.Flags, given, false)), c.FullName())
		}
		return usageError{err}
	}
	if c.Action == nil {
		c.Action = func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usagef("unknown command %q%s; see %s --help", c.Args().First(), suggested(c, c.Args().First()),
					c.FullName())
			}
			if c.Root() == c {
				return cli.ShowRootCommandHelp(c)
			}
			return cli.ShowSubcommandHelp(c)
		}
	}
	for _, sub := range c.Commands {
		strict(sub)
	}
	return c
}

// arguments returns the arguments of a command, which must be as many as are named.
func arguments(c *cli.Command, names ...string) ([]string, error) {
	args := c.Args().Slice()
	if len(args) < len(names) {
		return nil, usagef("%s is missing; see %s --help", names[len(args)], c.FullName())
	}
	if len(args) > len(names) {
		return nil, usagef("unexpected argument %q; see %s --help", args[len(names)], c.FullName())
	}
	return args, nil
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "show the versions of moltctl and of the daemon",
		Action: action(func(ctx context.Context, c *cli.Command, client api.ControlClient) error {
			r, err := client.Version(ctx, &api.VersionRequest{})
			if err != nil {
				return err
			}
			return printed(c, r, func(t *table) {
				t.row("moltctl", version)
				t.row("daemon", r.GetVersion())
				t.row("root", r.GetRoot())
			})
		}),
	}
}

// suggested returns the command that was probably meant, as the end of a phrase; empty if there is none.
func suggested(c *cli.Command, given string) string {
	return meant(given, cli.SuggestCommand(c.Commands, given))
}

// meant returns a suggestion as the end of a phrase, empty if it is too far from what was given.
func meant(given, suggestion string) string {
	name := strings.TrimLeft(suggestion, "-")
	if len(given) < 2 || !strings.HasPrefix(name, given[:2]) {
		return ""
	}
	return " (did you mean " + suggestion + "?)"
}

// dashed writes a flag as it is given on a command line.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
