# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_swarmlb_global_optspecs
    string join \n state-dir= node= format= q/quiet kernel= intent= h/help V/version
end

function __fish_swarmlb_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_swarmlb_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_swarmlb_using_subcommand
    set -l cmd (__fish_swarmlb_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c swarmlb -n "__fish_swarmlb_needs_command" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_needs_command" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_needs_command" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_needs_command" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_needs_command" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_needs_command" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "network" -d 'Manage networks'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "service" -d 'Manage services'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "inspect" -d 'Show how something works right now'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "sandbox" -d 'Look into sandboxes, and run commands in them'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "diag" -d 'Diagnose and measure'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "agent" -d 'Manage this node\'s keeper and agent'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "system" -d 'Show what this machine can do, and reset it'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "completions" -d 'Print a shell\'s completions'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "man" -d 'Print the manual page, or write all of them'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "keeper" -d 'Run as the keeper of a node'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "store-server" -d 'Run as the store of a cluster'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "builtin" -d 'Run as a built-in image'
complete -c swarmlb -n "__fish_swarmlb_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "create" -d 'Make an overlay network'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "ls" -d 'List networks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "list" -d 'List networks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "inspect" -d 'Show all of one or more networks, with services, tasks and addresses left'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "rm" -d 'Remove networks that no service is on'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "remove" -d 'Remove networks that no service is on'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and not __fish_seen_subcommand_from create ls list inspect rm remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -s d -l driver -d 'What kind of network; there is one kind' -r -f -a "overlay\t''"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l subnet -d 'Its range, from which VIPs and tasks get their addresses [default: a free one]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -s o -l opt -d 'A driver\'s option: `vni=N` (VXLAN network identifier), `mtu=N` (bytes)' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from create" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from inspect" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from rm" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from remove" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make an overlay network'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List networks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from help" -f -a "inspect" -d 'Show all of one or more networks, with services, tasks and addresses left'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from help" -f -a "rm" -d 'Remove networks that no service is on'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand network; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "create" -d 'Make a service, and wait until its tasks run and every sandbox balances to them'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "ls" -d 'List services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "list" -d 'List services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "ps" -d 'List the tasks of services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "inspect" -d 'Show all of one or more services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "logs" -d 'Show what the tasks of a service wrote, on this node'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "scale" -d 'Change how many tasks services have, and wait until it is so'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "rm" -d 'Remove services with their tasks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "remove" -d 'Remove services with their tasks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and not __fish_seen_subcommand_from create ls list ps inspect logs scale rm remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l name -d 'Its name [default: chosen]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l replicas -d 'How many tasks, up to 1000' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l network -d 'The network that its tasks are on [default: `default`, made on first use]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l endpoint-mode -d 'How clients find the tasks' -r -f -a "vip\t'One virtual address, balanced by the kernel'
dnsrr\t'All tasks\' addresses, rotated by DNS'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -s e -l env -d 'A variable for its tasks; may be given several times' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -s l -l label -d 'A label of the service; may be given several times' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l hostname -d 'What `hostname` says in its tasks [default: this machine\'s]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l data-plane -d 'What balances the VIP: `auto` is ipvs where the kernel has it, nftables elsewhere' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -s d -l detach -d 'Do not wait until the service is up'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from create" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from ps" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -l pretty -d 'For people, rather than as JSON'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from inspect" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -l tail -d 'Begin with the last lines of each task' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -s f -l follow -d 'Go on showing what is written'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from logs" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -s d -l detach -d 'Do not wait until it is so'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from scale" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from rm" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from remove" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make a service, and wait until its tasks run and every sandbox balances to them'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "ps" -d 'List the tasks of services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "inspect" -d 'Show all of one or more services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "logs" -d 'Show what the tasks of a service wrote, on this node'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "scale" -d 'Change how many tasks services have, and wait until it is so'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "rm" -d 'Remove services with their tasks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -f -a "vip" -d 'Show every VIP, or follow one as a packet would'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and not __fish_seen_subcommand_from vip help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from vip" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from help" -f -a "vip" -d 'Show every VIP, or follow one as a packet would'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand inspect; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -f -a "ls" -d 'List sandboxes, with what each belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -f -a "list" -d 'List sandboxes, with what each belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -f -a "dump" -d 'Show what a sandbox holds, with the services and tasks that it belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -f -a "exec" -d 'Run a command in a sandbox: its network, its resolv.conf, this machine\'s files'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and not __fish_seen_subcommand_from ls list dump exec help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -l all -d 'Named network namespaces of others too'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -l all -d 'Named network namespaces of others too'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -l table -d 'Only this part; may be given several times [default: all]' -r -f -a "mangle\t'Which packets are marked'
nat\t'Which packets are rewritten'
filter\t'Which packets are refused'
ipvs\t'Virtual and real servers with their counters'
links\t'Links and addresses'
routes\t'Local routes to VIPs'
sysctl\t'Kernel settings that differ from their default'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from dump" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from exec" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List sandboxes, with what each belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from help" -f -a "dump" -d 'Show what a sandbox holds, with the services and tasks that it belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from help" -f -a "exec" -d 'Run a command in a sandbox: its network, its resolv.conf, this machine\'s files'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand sandbox; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -f -a "dns" -d 'Ask a sandbox\'s resolver for a name, and compare with what it should answer'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -f -a "compare-dns-ipvs" -d 'Measure round-robin DNS against the VIP'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and not __fish_seen_subcommand_from dns compare-dns-ipvs help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -l from -d 'The sandbox to ask in [default: every task\'s sandbox]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from dns" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l requests -d 'Requests each way, 1 to 25000: each needs a client port of its own' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l concurrency -d 'Requests at a time, 1 to 256' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l from -d 'The sandbox to ask from [default: another service\'s task on the same network, else the service\'s own first task]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from compare-dns-ipvs" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from help" -f -a "dns" -d 'Ask a sandbox\'s resolver for a name, and compare with what it should answer'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from help" -f -a "compare-dns-ipvs" -d 'Measure round-robin DNS against the VIP'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand diag; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -f -a "run" -d 'Run the agent in the foreground; the keeper does this'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -f -a "status" -d 'Show keeper, agent and store of this node; exits 1 when one is missing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -f -a "stop" -d 'End keeper, agent and store; tasks and kernel tables stay as they are'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and not __fish_seen_subcommand_from run status stop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from run" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "run" -d 'Run the agent in the foreground; the keeper does this'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "status" -d 'Show keeper, agent and store of this node; exits 1 when one is missing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "stop" -d 'End keeper, agent and store; tasks and kernel tables stay as they are'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -f -a "info" -d 'Show kernel, data planes and programs, and what will not work here and why'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -f -a "reset" -d 'Remove every service and network, end keeper, agent and store, and delete the state'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and not __fish_seen_subcommand_from info reset help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from info" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -s y -l yes -d 'Do not ask'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -l dry-run -d 'Print the operations on kernel objects as commands, and change nothing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from reset" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from help" -f -a "info" -d 'Show kernel, data planes and programs, and what will not work here and why'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from help" -f -a "reset" -d 'Remove every service and network, end keeper, agent and store, and delete the state'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand system; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand completions" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -l directory -d 'Write a page for every command into this directory' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand man" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand keeper" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand store-server" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -f -a "whoami" -d 'An HTTP server that says which task it is'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and not __fish_seen_subcommand_from whoami help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -l port -d 'The port to listen on' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -l state-dir -d 'Where the state is kept: one directory is one node' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -l node -d 'This node\'s name, at its first start [default: the host name]' -r
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -l format -d 'How to print what is asked for' -r -f -a "table\t'For people'
json\t'For programs'"
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -l kernel -d 'Look at a recorded node instead of the kernel' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -l intent -d 'Use a recorded intent instead of the store' -r -F
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -s q -l quiet -d 'Print ids or names only, and no progress'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from whoami" -s V -l version -d 'Print version'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from help" -f -a "whoami" -d 'An HTTP server that says which task it is'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand builtin; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "network" -d 'Manage networks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "service" -d 'Manage services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "inspect" -d 'Show how something works right now'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "sandbox" -d 'Look into sandboxes, and run commands in them'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "diag" -d 'Diagnose and measure'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "agent" -d 'Manage this node\'s keeper and agent'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "system" -d 'Show what this machine can do, and reset it'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "completions" -d 'Print a shell\'s completions'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "man" -d 'Print the manual page, or write all of them'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "keeper" -d 'Run as the keeper of a node'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "store-server" -d 'Run as the store of a cluster'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "builtin" -d 'Run as a built-in image'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and not __fish_seen_subcommand_from network service inspect sandbox diag agent system completions man keeper store-server builtin help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from network" -f -a "create" -d 'Make an overlay network'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from network" -f -a "ls" -d 'List networks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from network" -f -a "inspect" -d 'Show all of one or more networks, with services, tasks and addresses left'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from network" -f -a "rm" -d 'Remove networks that no service is on'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "create" -d 'Make a service, and wait until its tasks run and every sandbox balances to them'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "ls" -d 'List services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "ps" -d 'List the tasks of services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "inspect" -d 'Show all of one or more services'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "logs" -d 'Show what the tasks of a service wrote, on this node'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "scale" -d 'Change how many tasks services have, and wait until it is so'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "rm" -d 'Remove services with their tasks'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from inspect" -f -a "vip" -d 'Show every VIP, or follow one as a packet would'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from sandbox" -f -a "ls" -d 'List sandboxes, with what each belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from sandbox" -f -a "dump" -d 'Show what a sandbox holds, with the services and tasks that it belongs to'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from sandbox" -f -a "exec" -d 'Run a command in a sandbox: its network, its resolv.conf, this machine\'s files'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from diag" -f -a "dns" -d 'Ask a sandbox\'s resolver for a name, and compare with what it should answer'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from diag" -f -a "compare-dns-ipvs" -d 'Measure round-robin DNS against the VIP'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "run" -d 'Run the agent in the foreground; the keeper does this'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "status" -d 'Show keeper, agent and store of this node; exits 1 when one is missing'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "stop" -d 'End keeper, agent and store; tasks and kernel tables stay as they are'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from system" -f -a "info" -d 'Show kernel, data planes and programs, and what will not work here and why'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from system" -f -a "reset" -d 'Remove every service and network, end keeper, agent and store, and delete the state'
complete -c swarmlb -n "__fish_swarmlb_using_subcommand help; and __fish_seen_subcommand_from builtin" -f -a "whoami" -d 'An HTTP server that says which task it is'
