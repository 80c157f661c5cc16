// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
)

// The exit codes, which docs/operations.md lists.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitHeld     = 3 // storages are held, or would be; nothing else went wrong
	exitNotFound = 4
	exitRefused  = 5 // the state of things does not allow it
	exitNoDaemon = 6
	exitDenied   = 7 // the socket of the daemon is there, and may not be used
)

// exitNames are the exit codes in words, as errors in JSON have them.
var exitNames = map[int]string{
	exitFailed: "failed", exitUsage: "usage", exitHeld: "held", exitNotFound: "not-found", exitRefused: "refused",
	exitNoDaemon: "no-daemon", exitDenied: "permission-denied",
}

// usageError is bad input on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// classedError is an error whose text is whole without its class.
type classedError struct {
	text  string
	class error
}

// Error implements error.
func (e classedError) Error() string { return e.text }

// Unwrap returns the class, which selects the exit code.
func (e classedError) Unwrap() error { return e.class }

// native turns an error of the daemon into one that reads as if it had happened here.
func native(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	return classedError{s.Message(), errgrpc.ToNative(status.New(s.Code(), "").Err())}
}

func exitCode(err error) int {
	var (
		usage usageError
		short shortfall
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &short):
		return short.code()
	case errors.Is(err, errDenied):
		return exitDenied
	case errors.Is(err, errNoDaemon):
		return exitNoDaemon
	case errors.As(err, &usage), errdefs.IsInvalidArgument(err):
		return exitUsage
	case errdefs.IsNotFound(err):
		return exitNotFound
	case errdefs.IsFailedPrecondition(err):
		return exitRefused
	}
	return exitFailed
}

// errorJSON is how programs are shown an error.
type errorJSON struct {
	Error struct {
		Code     string   `json:"code"`
		ExitCode int      `json:"exit_code"`
		Message  string   `json:"message"`
		Causes   []string `json:"causes,omitempty"` // one by one, where there are several
	} `json:"error"`
}

// printError shows an error on the error output and returns the exit code. That nothing can be written there is no
// other error: the exit code is shown all the same.
func printError(err error, inJSON bool, w io.Writer) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	lines := strings.Split(errtext.Of(err), "\n")
	if !inJSON {
		for _, line := range lines {
			_, _ = fmt.Fprintf(w, "moltctl: %s\n", visible(line))
		}
		return code
	}
	var shown errorJSON
	shown.Error.Code, shown.Error.ExitCode, shown.Error.Message = exitNames[code], code, strings.Join(lines, "; ")
	if len(lines) > 1 {
		shown.Error.Causes = lines
	}
	encoder := json.NewEncoder(&escaper{w: w})
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(shown)
	return code
}

// wantsJSON reports whether a command line asks for JSON. It is asked for also where the command line cannot be
// understood.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == "format" && strings.HasPrefix(arg, "-") {
			return given && value == formatJSON || !given &&
				slices.Equal(args[i+1:min(i+2, len(args))], []string{formatJSON})
		}
	}
	return false
}
