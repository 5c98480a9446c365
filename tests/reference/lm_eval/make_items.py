#!/usr/bin/env python3
"""A multiple-choice task of 240 items for lm-evaluation-harness, in English and Chinese.

    python tests/reference/lm_eval/make_items.py > items.jsonl
"""
import json
import random

CAPITALS = """France Paris|Germany Berlin|Italy Rome|Spain Madrid|Japan Tokyo|China Beijing|Russia Moscow|Egypt Cairo|
Canada Ottawa|Australia Canberra|Brazil Brasília|India New Delhi|Greece Athens|Norway Oslo|Sweden Stockholm|Poland Warsaw|
Austria Vienna|Hungary Budapest|Portugal Lisbon|Ireland Dublin|Turkey Ankara|Iran Tehran|Iraq Baghdad|Kenya Nairobi|
Peru Lima|Chile Santiago|Cuba Havana|Thailand Bangkok|Vietnam Hanoi|Finland Helsinki|Denmark Copenhagen|Belgium Brussels|
Ukraine Kyiv|Mexico Mexico City|Argentina Buenos Aires|Indonesia Jakarta|Nepal Kathmandu|Mongolia Ulaanbaatar|
Morocco Rabat|Ethiopia Addis Ababa""".replace("\n", "").split("|")
PROVINCES = """广东 广州|四川 成都|浙江 杭州|江苏 南京|湖北 武汉|湖南 长沙|陕西 西安|山东 济南|河南 郑州|河北 石家庄|山西 太原|
辽宁 沈阳|吉林 长春|黑龙江 哈尔滨|安徽 合肥|福建 福州|江西 南昌|海南 海口|贵州 贵阳|云南 昆明|甘肃 兰州|青海 西宁|广西 南宁|新疆 乌鲁木齐|
西藏 拉萨|宁夏 银川|内蒙古 呼和浩特|台湾 台北""".replace("\n", "").split("|")
OPPOSITES = """hot cold|big small|up down|left right|day night|black white|fast slow|early late|open closed|young old|
rich poor|strong weak|happy sad|full empty|wet dry|hard soft|long short|near far|high low|light dark|clean dirty|
true false|win lose|buy sell|push pull|give take|love hate|start stop|inside outside|before after|male female|
friend enemy|noisy quiet|cheap expensive|thick thin|deep shallow""".replace("\n", "").split("|")


def pick(rng, right, others):
    choices = rng.sample([o for o in others if o != right], 3) + [right]
    rng.shuffle(choices)
    return choices, choices.index(right)


def pairs(rng, lines, question):
    table = [line.split(" ", 1) for line in lines]
    for key, value in table:
        choices, answer = pick(rng, value, [v for _, v in table])
        yield {"question": question.format(key), "choices": choices, "answer": answer}


def sums(rng, count, sign, question):
    for _ in range(count):
        a, b = rng.randrange(2, 60), rng.randrange(2, 30)
        right = a + b if sign == "+" else a - b if sign == "-" else a * b
        wrong = [right + d for d in (-10, -2, -1, 1, 2, 3, 10)]
        choices, answer = pick(rng, str(right), [str(w) for w in wrong])
        yield {"question": question.format(a, sign, b), "choices": choices, "answer": answer}


def main():
    rng = random.Random(11)
    items = [*pairs(rng, CAPITALS, "Question: What is the capital of {}?\nAnswer:"),
             *pairs(rng, PROVINCES, "问题：{}的省会或首府是哪座城市？\n答案："),
             *pairs(rng, OPPOSITES, "The opposite of \"{}\" is"),
             *sums(rng, 46, "+", "{} {} {} ="), *sums(rng, 45, "-", "{} {} {} ="), *sums(rng, 45, "*", "{} {} {} =")]
    for item in items:
        print(json.dumps(item, ensure_ascii=False))


if __name__ == "__main__":
    main()
