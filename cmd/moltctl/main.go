// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command moltctl is molt's command line. It talks to the daemon's control socket and touches nothing else.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs a command line and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	c := app()
	c.Writer, c.ErrWriter = out, errOut
	return printError(c.Run(ctx, helpLast(args)), wantsJSON(args), errOut)
}

// helpLast makes "help update create" of the command line "update create --help": the library looks at the first name
// only.
func helpLast(args []string) []string {
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "help" || arg == "h":
			if i+1 == len(args) {
				return args
			}
			return slices.Concat(args[:i], args[i+1:], []string{"--help"})
		case !strings.HasPrefix(arg, "-"):
			return args
		case takesValue[strings.TrimLeft(arg, "-")]:
			i++
		}
	}
	return args
}

// takesValue are the flags before a command whose value is an argument of its own.
var takesValue = map[string]bool{"address": true, "a": true, "namespace": true, "n": true, "format": true}
