// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command moltctl is molt's command line. It talks to the daemon's control socket and touches nothing else.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	err := c.Run(ctx, args)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			_, _ = fmt.Fprintf(errOut, "moltctl: %s\n", visible(line)) // the exit code tells it, too
		}
	}
	return exitCode(err)
}
