use super::super::saved;
use super::*;

#[test]
fn what_is_saved_is_read_as_it_was() {
    let lines = [
        "-A -t 10.0.3.2:80 -s wrr",
        "-a -t 10.0.3.2:80 -r 10.0.3.5:80 -g -w 0",
        "-a -t 10.0.3.2:80 -r 10.0.3.6:80 -i -w 1 --tun-type ipip",
        "-a -t 10.0.3.2:80 -r 10.0.3.7:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum",
        "-a -t 10.0.3.2:80 -r 10.0.3.8:80 -i -w 1 --tun-type gre --tun-nocsum",
        "-a -t 10.0.3.2:80 -r [fd00:3::9]:80 -i -w 1 --tun-type ipip",
        "-A -u 10.0.3.2:53 -s rr -o",
        "-A -u 10.0.3.2:5060 -s rr -p 60 -M 255.255.255.0 --pe sip",
        "-A -t 10.0.3.2:0 -s mh -p 300 -b mh-fallback,mh-port",
        "-A --sctp-service [fd00:3::2]:9 -s sh -b sh-fallback,sh-port",
        "-a --sctp-service [fd00:3::2]:9 -r [fd00:3::4]:9 -g -w 65535",
        "-A -f 268 -s wlc",
        "-a -f 268 -r 10.0.3.4:0 -m -w 3 -x 100 -y 50",
        "-A -f 268 -6 -s fo -p 360 -M 64 -b flag-1",
    ];
    assert_eq!(saved(&parse(&lines.join("\n")).unwrap()), lines);
}

#[test]
fn lines_may_be_written_as_ipvsadm_takes_them_on_a_command_line() {
    let of = |text: &str| saved(&parse(text).unwrap()).join("\n");
    let plain = "-A -t 10.0.3.2:80 -s wlc\n-a -t 10.0.3.2:80 -r 10.0.3.3:80 -m -w 1";
    assert_eq!(of("-At 10.0.3.2:80\n\n# a comment\n-amt10.0.3.2:80 -r10.0.3.3 # one"), plain);
    let long = "--add-service --tcp-service=10.0.3.2:80 --scheduler wlc\r\n\
        --add-server --tcp-service 10.0.3.2:80 --real-server 10.0.3.3:80 --masquerading --weight=1\r\n";
    assert_eq!(of(long), plain);
    assert_eq!(of("-A -f 1 -p"), "-A -f 1 -s wlc -p 300");
    assert_eq!(of("-A -f 1 -p -M 255.255.0.0"), "-A -f 1 -s wlc -p 300 -M 255.255.0.0");
    assert_eq!(of("-Af 1 -p60"), "-A -f 1 -s wlc -p 60");
    assert_eq!(of(""), "");
}

#[test]
fn what_cannot_be_done_is_refused_by_its_line() {
    let problem = |line: &str| {
        let text = format!("-A -t 10.0.3.2:80\n\n{line}");
        let error = parse(&text).expect_err(line);
        assert_eq!(error.line, 3, "{line}");
        error.problem
    };
    let cases = [
        ("-A", "it names no virtual server by -t, -u, --sctp-service or -f"),
        ("-t 10.0.3.2:80", "it has neither -A nor -a"),
        ("-D -t 10.0.3.2:80", "`-D` is none of -A and -a, of which a table consists"),
        ("--clear", "`--clear` is none of -A and -a, of which a table consists"),
        ("-A -a -f 1", "it has two commands"),
        ("-A -f 1 -f 2", "it names two virtual servers"),
        ("-A -f 0", "`0` is no mark, from 1 to 4294967295"),
        ("-A -f", "nothing stands behind `-f`"),
        ("-A -f 1 -z", "`-z` is no option of -A or -a"),
        ("-A -f 1 -P sip", "`-P` is no option of -A or -a"),
        ("-A -f 1 web", "`web` is no option of -A or -a"),
        ("-A -f 1 --numeric=1", "`--numeric` takes nothing"),
        ("-A -f 1 -s a/b\u{1b}", "`a/b\\u{1b}` is no scheduler's name"),
        ("-A -f 1 -p 0", "`-p 0`: no number from 1 to 2678400"),
        ("-A -f 1 -M 255.255.255.0", "-M is of no use without -p"),
        ("-A -f 1 -p -M 255.0.255.0", "`-M 255.0.255.0` is no mask, as 255.255.255.0"),
        ("-A -f 1 -6 -p -M 129", "`-M 129` is no prefix's length, from 1 to 128"),
        ("-A -t 10.0.3.2:81 -o", "-o is for UDP"),
        (
            "-A -f 1 -s rr -b sh-port",
            "scheduler rr has no flag `sh-port`: there are flag-1, flag-2, flag-3",
        ),
        ("-A -t 10.0.3.2:0", "port 0, which is every port, needs -p"),
        ("-A -t 10.0.3.2:80", "this virtual server is there already"),
        ("-A -f 1 -w 2", "-A says nothing of a real server: that is for -a"),
        ("-a -f 1 -r 10.0.3.3", "no line above adds the virtual server: `-A -f 1`"),
        ("-a -t 10.0.3.2:80", "it names no real server by -r"),
        (
            "-a -t 10.0.3.2:80 -r 10.0.3.3 -s rr",
            "-a says nothing of the virtual server: that is for -A",
        ),
        (
            "-a -t 10.0.3.2:80 -r 10.0.3.3:81 -g",
            "only -m changes the port: what comes for port 80 never gets to port 81",
        ),
        ("-a -t 10.0.3.2:80 -r fd00::3 -m", "only -i leads to the other family: fd00::3"),
        ("-a -t 10.0.3.2:80 -r 10.0.3.3 -m -g", "it has two of -g, -i and -m"),
        ("-a -t 10.0.3.2:80 -r 10.0.3.3 -w 65536", "`-w 65536`: no number from 0 to 65535"),
        ("-a -t 10.0.3.2:80 -r 10.0.3.3 -x 5 -y 6", "its -y 6 is above its -x 5"),
        ("-a -t 10.0.3.2:80 -r 10.0.3.3 --tun-type gre", "a tunnel is for -i"),
        (
            "-a -t 10.0.3.2:80 -r 10.0.3.3 -i --tun-type gue",
            "--tun-port is for --tun-type gue, which needs it",
        ),
        ("-a -t 10.0.3.2:80 -r 10.0.3.3 -i --tun-csum", "a checksum is for --tun-type gue and gre"),
        (
            "-a -t 10.0.3.2:80 -r 10.0.3.3 -i --tun-type vxlan",
            "`--tun-type vxlan` is none of ipip, gue and gre",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(problem(line), expected, "{line}");
    }
    let host = problem("-A -t web.example:http");
    assert!(host.starts_with("`web.example:http` is no address in numbers"), "{host}");
    let twice = parse("-A -f 1\n-a -f 1 -r 10.0.3.3 -m\n-a -f 1 -r 10.0.3.3:0 -m").unwrap_err();
    assert_eq!(twice.to_string(), "line 3: it has this real server already");
}

#[test]
fn no_text_makes_it_panic() {
    let seed = 0x5eed_0001_u64;
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let words = [
        "-A",
        "-a",
        "-t",
        "-f",
        "-Af",
        "-p",
        "-p1",
        "--pe",
        "sip",
        "-b",
        "sh-port",
        "-M",
        "10.0.3.2:80",
        "1",
        "é",
        "-é",
        "--",
        "-",
        "--tun-type=gue",
        "--tun-port",
        "65536",
        "-r",
        "[::1]",
        "[",
        "-x",
        "\n",
        "#",
        "--scheduler=",
        "-amt",
    ];
    for _ in 0..20_000 {
        let line: Vec<&str> = (0..next(8)).map(|_| words[next(words.len())]).collect();
        let _ = parse(&line.join(" "));
    }
}
